"""`odapi data`: labelled images to the records that training reads, and a look at records."""
