"""Study design: simulate, judge, report."""
