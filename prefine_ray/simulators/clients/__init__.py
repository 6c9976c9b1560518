"""Views of a task for other libraries: gymnasium's vector environment, Safety-Gymnasium's six values."""
