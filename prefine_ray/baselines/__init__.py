"""The methods that PREFINE is compared with, and the cloned base policy."""
