"""`odapi doctor`: what is wrong with records, label map, config and checkpoint, before training."""
