//! The setters of the options. `option_methods!` has the methods that users call, and their docs.
#![doc(hidden)]

use std::{sync::Arc, time::Duration};

use http::{
    Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};
use throttle_core::ConcurrencyLimit;

use super::{
    ChargeIf, Exempt, Options, PeerOf, SelectRules, Selection,
    actual::ActualBy,
    cost::ExtractCost,
    exempt_paths::{ExemptPaths, is_health_check},
    on_error::OnError,
};
use crate::{fields::Headers, identity::ExtractKey, rejection::OnRejection};

const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";
const GRPC_REFLECTION: [&str; 2] =
    ["/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

#[doc(hidden)]
impl Options {
    pub fn set_rule(&mut self, name: String) {
        match &mut self.selection {
            Selection::All => self.selection = Selection::Named(vec![name]),
            Selection::Named(names) => names.push(name),
        }
    }

    pub fn set_limit(&mut self, name: String, rate: String) {
        self.added.push((name.clone(), rate));
        self.set_rule(name);
    }

    pub fn set_select_rules(&mut self, select: SelectRules) {
        self.select_rules = Some(select);
    }

    pub fn set_declared(&mut self, names: Vec<String>) {
        self.declared.extend(names);
    }

    pub fn set_key(&mut self, key: Arc<dyn ExtractKey>) {
        self.key = key;
    }

    pub fn set_response_extension(&mut self, leave: bool) {
        self.response_extension = leave;
    }

    pub fn set_cost(&mut self, cost: Arc<dyn ExtractCost>) {
        self.cost = Some(cost);
    }

    pub fn set_methods(&mut self, methods: Vec<Method>) {
        self.methods = Some(methods);
    }

    pub fn set_exempt(&mut self, exempt: Exempt) {
        self.exempt.push(exempt);
    }

    pub fn set_exempt_preflight(&mut self) {
        self.set_exempt(Arc::new(|head| {
            head.method() == Method::OPTIONS
                && head.headers().contains_key(ORIGIN)
                && head.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        }));
    }

    pub fn set_exempt_paths(&mut self, paths: Vec<String>) {
        match ExemptPaths::new(paths.into_iter()) {
            Ok(paths) => self.set_exempt(Arc::new(move |head| paths.contains(head.path()))),
            Err(error) => _ = self.invalid_path.get_or_insert(error),
        }
    }

    pub fn set_exempt_health_checks(&mut self) {
        self.set_exempt(Arc::new(is_health_check));
    }

    pub fn set_peer(&mut self, peer: PeerOf) {
        self.peer = Some(peer);
    }

    pub fn set_exempt_grpc_health(&mut self) {
        self.set_exempt(Arc::new(|head| head.path().starts_with(GRPC_HEALTH)));
    }

    pub fn set_exempt_grpc_reflection(&mut self) {
        let starts = |path: &str| GRPC_REFLECTION.iter().any(|service| path.starts_with(service));
        self.set_exempt(Arc::new(move |head| starts(head.path())));
    }

    pub fn set_headers(&mut self, headers: Headers) {
        self.headers = headers;
    }

    pub fn set_on_rejection(&mut self, answer: OnRejection) {
        self.on_rejection = Some(answer);
    }

    pub fn set_on_error(&mut self, on_error: OnError) {
        self.on_error = on_error;
    }

    pub fn set_charge_if(&mut self, charge_if: ChargeIf) {
        self.charge_if = Some(charge_if);
    }

    pub fn set_concurrency(&mut self, concurrency: ConcurrencyLimit) {
        if self.selection == Selection::All {
            self.selection = Selection::Named(Vec::new());
        }
        self.concurrency.push(concurrency);
    }

    pub fn set_charge_actual(&mut self) {
        self.actual.get_or_insert_default();
    }

    pub fn set_charge_actual_by(&mut self, known: ActualBy) {
        self.actual.get_or_insert_default().by = Some(known);
    }

    pub fn set_charge_bytes_sent(&mut self) {
        self.actual.get_or_insert_default().bytes_sent = true;
    }

    pub fn set_shape(&mut self, at_most: Duration) {
        self.shape = Some(at_most);
    }

    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub fn set_dry_run(&mut self) {
        self.dry_run = true;
    }
}
