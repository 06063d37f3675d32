"""The radiologist's side: collecting credentials, watching them, sharing them."""
