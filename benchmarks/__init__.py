"""Speed, effective draws and memory side by side with what users would choose instead, as ratios of one run."""
