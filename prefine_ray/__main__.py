"""`python -m prefine_ray` is `prefine`."""

from prefine_ray.cli.parser import main

if __name__ == "__main__":
    raise SystemExit(main())
