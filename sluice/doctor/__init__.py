"""What `sluice doctor` does: it looks a registry over, and on request plagues it first."""
