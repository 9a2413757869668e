"""What differs between operating systems, and nothing else. No other module asks which system it runs on.

Every feature that some system lacks is named in :mod:`.features`, and can be switched off there.
"""
