"""The processes of a running instance: manager, pool of workers, their control, hand-over, upkeep, metrics."""
