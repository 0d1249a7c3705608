//! What crosses crates: a real server, a real client.

#[cfg(test)]
mod load;
