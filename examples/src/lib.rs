//! Programs to start from: see the examples beside this folder.
