//! This library is empty; the program is `quickstart.rs`.
