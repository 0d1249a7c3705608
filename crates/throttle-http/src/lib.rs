//! What rate limiting over HTTP needs and no framework owns: client identity, header fields, problem details.
