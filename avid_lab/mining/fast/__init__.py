"""Fast ways to the same positives: whole rows anywhere, tiles on a CPU, groups on a GPU. All are exact."""
