"""How good a detector is: records in, COCO's numbers, a confusion matrix and a page out."""
