"""Detections in images and videos."""
