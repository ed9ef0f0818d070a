"""Image-to-image translation: an image of one kind becomes an image of another."""
