//! Services that a gRPC server has for its own sake.

use super::Options;

const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: [&str; 2] =
    ["/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

impl Options {
    /// Lets calls of the [health service] pass uncharged: load balancers ask it all the time.
    ///
    /// [health service]: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
    pub fn exempt_grpc_health(self) -> Self {
        self.exempt(|head| head.path().starts_with(HEALTH))
    }

    /// Lets calls of the [reflection service] pass uncharged, `v1` and `v1alpha`.
    ///
    /// [reflection service]: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
    pub fn exempt_grpc_reflection(self) -> Self {
        self.exempt(|head| REFLECTION.iter().any(|service| head.path().starts_with(service)))
    }
}
