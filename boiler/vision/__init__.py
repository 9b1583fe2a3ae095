"""Pictures and the frames of videos: read in processes that may die, and made into what a network takes."""
