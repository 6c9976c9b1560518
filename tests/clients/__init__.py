"""Programs that run in an environment of their own, with libraries whose pins do not go with ours."""
