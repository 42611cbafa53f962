"""Report pages: one HTML file each."""
