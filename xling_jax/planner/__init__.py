"""What a run would need, before it is paid for: its real programs compiled ahead of time, for chips not here."""
