//! This library is empty; the example programs are in the parent directory.
