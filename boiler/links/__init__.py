"""Links to sounds and videos: fetched by a process of their own, from public addresses only."""
