"""An instance on disk: its folder, its CS.cfg, how it is made, started and stopped."""
