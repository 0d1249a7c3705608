//! The way of a request, but for calling the handler.

use std::{fmt, sync::Once};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use throttle_core::{Decisions, Error, Key, Limiter, Listed, Reply};

use crate::{
    ConfigError, Denial, Followed, Marks, OnError, Options, Protocol, RequestHead, ResponseHead,
    Selection,
    fields::{Fields, Values},
    follow::Asked,
    health::Health,
    identity::NoKey,
    mistakes::{Seen, Watch, look_at_gone, look_at_rules},
    options::RulesBy,
    problem,
    refusal::{
        problem_response, refuse_misconfigured, refuse_undecided, refuse_without_cost,
        refuse_without_key,
    },
};

/// Decides about requests by a limiter and [`Options`]; what adapters are made of.
pub struct Throttle {
    limiter: Limiter,
    options: Options,
    fields: Fields,
    health: Health,
    watch: Watch,
    no_peer: Once,
    no_rule: Once,
    wants_route: bool,
    waits_for_key: bool,
    /// Whether an option wants more of a request than the limiter's answer.
    follows: bool,
}

/// Says what is to be done with a request.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "adapters match on it once")]
pub enum Admission {
    /// It passes without being limited.
    Exempt,
    /// The limiter was asked; hand its answer to [`Throttle::judge`].
    Asked(Reply<Decisions, Error>),
    /// The limiter was asked, and an option wants more than its answer; hand it to
    /// [`Throttle::follow`].
    Followed(Box<Followed>),
    /// It is refused before the limiter was asked.
    Refused(Refusal),
    /// It passes, though it would be refused so if this were no [dry run](Options::dry_run); mark its
    /// response.
    Undecided(Marks),
}

/// Says what the limiter's answer means.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "adapters match on it once")]
pub enum Verdict {
    /// The request passes; make of the decisions the [`Marks`] of its response.
    Passed(Decisions),
    /// The request passes although it could not be decided; mark its response so.
    Undecided(Marks),
    /// It is refused.
    Refused(Refusal),
}

/// The response to a refused request; with [`Options::response_extension`] the decisions are in its
/// extensions.
pub type Refusal = Response<Bytes>;

impl Throttle {
    /// Checks the options against the limiter, and adds the rules that they bring.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a rate or rule that cannot be taken, a rule that is named or declared and not
    /// known (the text has those that are), a limiter without rules, and a trusted proxy that is no
    /// network.
    pub fn new(limiter: Limiter, options: Options) -> Result<Self, ConfigError> {
        let mut added = Vec::new();
        let throttle = Self::add_rules(&limiter, &options, &mut added)
            .and_then(|()| Self::with_rules(limiter.clone(), options));
        if throttle.is_err() {
            added.iter().for_each(|name| _ = limiter.remove_rule(name));
        }
        throttle
    }

    fn with_rules(limiter: Limiter, options: Options) -> Result<Self, ConfigError> {
        options.key.validate()?;
        options.cost.as_ref().map_or(Ok(()), |cost| cost.validate())?;
        if let Some(error) = &options.invalid_path {
            return Err(error.clone().into());
        }
        if !options.selection.is_empty() || options.concurrency.is_empty() {
            limiter.probe(names(&options.selection)).map_err(ConfigError::Rules)?;
        }
        for (i, places) in options.concurrency.iter().enumerate() {
            if options.concurrency[..i].iter().any(|one| one.name() == places.name()) {
                let repeated = Error::RepeatedRule(places.name().to_owned());
                return Err(ConfigError::Rules(repeated));
            }
        }
        for name in &options.declared {
            limiter.probe(Some(&[name])).map_err(ConfigError::Rules)?;
        }
        let fields = Fields::new(options.headers)?;
        if options.rules_by.is_none() && !options.key.is_async() && !options.selection.is_empty() {
            let rules = match names(&options.selection) {
                None => limiter.rules(),
                Some(names) => names.iter().filter_map(|name| limiter.rule(name)).collect(),
            };
            let cost = options.cost.as_ref().and_then(|cost| cost.constant());
            look_at_rules(&rules, cost, options.shape.is_some());
        }
        let (health, no_peer, no_rule) = (Health::default(), Once::new(), Once::new());
        let watch = Watch::new(&options.key);
        let wants_route = options.key.wants_route();
        let waits_for_key = options.key.is_async();
        if waits_for_key && options.rules_by.is_some() {
            return Err(ConfigError::RulesByLaterKey);
        }
        let follows = options.charge_if.is_some()
            || options.shape.is_some()
            || options.actual.is_some()
            || fields.wants_key();
        Ok(Self {
            watch,
            limiter,
            options,
            fields,
            health,
            no_peer,
            no_rule,
            wants_route,
            waits_for_key,
            follows,
        })
    }

    /// Answers where no throttle could be made and the service runs all the same: 500; why is for the
    /// log, not for clients.
    #[must_use]
    pub fn misconfigured() -> Refusal {
        Self::misconfigured_for(Protocol::Http)
    }

    /// As [`Throttle::misconfigured`], for a client that reads the protocol.
    #[must_use]
    pub fn misconfigured_for(protocol: Protocol) -> Refusal {
        let refusal = refuse_misconfigured("The server is not configured to limit requests.");
        protocol.undecided(refusal)
    }

    /// Returns the limiter.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Returns whether the key looks at the pattern of the route.
    #[must_use]
    pub fn wants_route(&self) -> bool {
        self.wants_route
    }

    /// Asks the limiter about a request.
    #[inline]
    #[must_use]
    pub fn admit(&self, head: &RequestHead<'_>) -> Admission {
        let with_peer;
        let head = match &self.options.peer {
            Some(peer_of) if head.peer().is_none() => {
                with_peer = head.with_peer(peer_of(head.extensions()));
                &with_peer
            }
            _ => head,
        };
        if self.is_exempt(head) {
            return Admission::Exempt;
        }
        let cost = match self.options.cost.as_ref().map(|cost| cost.try_cost(head)) {
            None => None,
            Some(Ok(0)) => return Admission::Exempt,
            Some(Ok(cost)) => Some(cost),
            Some(Err(_)) if self.options.dry_run => {
                return Admission::Undecided(Marks::denied_dry());
            }
            Some(Err(no_cost)) => {
                let refusal = refuse_without_cost(no_cost);
                return Admission::Refused(Protocol::of_head(head).undecided(refusal));
            }
        };
        if self.waits_for_key {
            let seen = self.watch.is_on().then(|| Seen::new(head));
            let asked = Asked::Key(self.options.key.extract_later(head), cost, seen);
            let protocol = Protocol::of_head(head);
            return Admission::Followed(Box::new(Followed { asked, protocol }));
        }
        match self.options.key.extract(head) {
            Ok(key) if !self.options.concurrency.is_empty() => {
                self.admit_to_places(key, head, cost)
            }
            Ok(key) => {
                if self.watch.is_on() {
                    self.look(Seen::new(head), &key);
                }
                let reply = match &self.options.rules_by {
                    None => self.begin(&key, names(&self.options.selection), cost),
                    Some(pick) => match self.begin_picked(pick, &key, head, cost) {
                        Some(reply) => reply,
                        None => return Admission::Exempt,
                    },
                };
                if self.follows {
                    let asked = Asked::Limiter(key.into_owned(), reply);
                    let protocol = Protocol::of_head(head);
                    return Admission::Followed(Box::new(Followed { asked, protocol }));
                }
                Admission::Asked(reply)
            }
            Err(no_key) => match self.judge_without_key(Protocol::of_head(head), &no_key) {
                Ok(marks) => Admission::Undecided(marks),
                Err(refusal) => Admission::Refused(refusal),
            },
        }
    }

    /// Makes of the limiter's answer a pass, or a refusal as clients of HTTP read it.
    #[inline]
    #[must_use]
    pub fn judge(&self, answer: Result<Decisions, Error>) -> Verdict {
        self.judge_for(|| Protocol::Http, answer)
    }

    /// As [`Throttle::judge`], with a refusal in the protocol that the client reads; that is asked for
    /// only where there is one.
    #[inline]
    #[must_use]
    pub fn judge_for(
        &self,
        protocol: impl FnOnce() -> Protocol,
        answer: Result<Decisions, Error>,
    ) -> Verdict {
        self.judge_keyed(None, protocol, answer)
    }

    #[inline]
    pub(crate) fn judge_keyed(
        &self,
        key: Option<&Key<'_>>,
        protocol: impl FnOnce() -> Protocol,
        answer: Result<Decisions, Error>,
    ) -> Verdict {
        match answer {
            Ok(decisions) => {
                self.health.decided(&decisions);
                if decisions.is_allowed() || self.options.dry_run {
                    return Verdict::Passed(decisions);
                }
                Verdict::Refused(self.refuse(key, protocol(), decisions))
            }
            Err(error) => self.judge_undecided(protocol(), &error),
        }
    }

    /// Makes what the response to a request that passed is marked with: the header fields, and the
    /// decisions for its extensions if that [was asked for](Options::response_extension).
    #[inline]
    #[must_use]
    pub fn marks(&self, decisions: &Decisions) -> Marks {
        self.marks_for(None, decisions)
    }

    #[inline]
    pub(crate) fn marks_for(&self, key: Option<&Key<'_>>, decisions: &Decisions) -> Marks {
        let values = self.values(key, decisions);
        let listed = decisions.reported().listed() == Some(Listed::Allowed);
        let dry_run = self.options.dry_run && !listed && !decisions.is_allowed();
        let extension = self.options.response_extension;
        let decisions = extension.then(|| Box::new(decisions.clone()));
        Marks { values, dry_run, undecided: false, decisions }
    }

    /// Marks a response: [`Throttle::marks`] and [`Marks::write`] in one.
    pub fn mark<B>(&self, response: &mut Response<B>, decisions: Decisions) {
        self.marks(&decisions).write(response);
    }

    /// Notes that the storage decided.
    pub(crate) fn note_decided(&self, decisions: &Decisions) {
        self.health.decided(decisions);
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Returns whether a request with this response counts.
    pub(crate) fn counts(&self, head: &ResponseHead<'_>) -> bool {
        self.options.charge_if.as_ref().is_none_or(|charge_if| charge_if(head))
    }

    /// Looks for mistakes in a request and its key.
    #[cold]
    pub(crate) fn look(&self, seen: Seen<'static>, key: &Key<'_>) {
        self.watch.look(&*self.options.key, &seen.with_key(key));
    }

    /// Asks the limiter by the rules that are picked; none where there are none.
    #[inline(never)]
    fn begin_picked(
        &self,
        pick: &RulesBy,
        key: &Key<'_>,
        head: &RequestHead<'_>,
        cost: Option<u64>,
    ) -> Option<Reply<Decisions, Error>> {
        self.begin_rules(key, Some(&pick(key, head)), cost)
    }

    #[inline(never)]
    fn admit_to_places(
        &self,
        key: Key<'_>,
        head: &RequestHead<'_>,
        cost: Option<u64>,
    ) -> Admission {
        if self.watch.is_on() {
            self.look(Seen::new(head), &key);
        }
        let picked = self.options.rules_by.as_ref().map(|pick| pick(&key, head));
        let asked = Asked::Places { key: key.into_owned(), cost, picked };
        let protocol = Protocol::of_head(head);
        Admission::Followed(Box::new(Followed { asked, protocol }))
    }

    #[inline]
    pub(crate) fn is_exempt(&self, head: &RequestHead<'_>) -> bool {
        let options = &self.options;
        let method = match head.method() {
            &Method::HEAD => &Method::GET, // which answers it
            method => method,
        };
        let is_limited =
            |methods: &Vec<Method>| methods.contains(method) || methods.contains(head.method());
        options.methods.as_ref().is_some_and(|methods| !is_limited(methods))
            || options.exempt.iter().any(|exempt| exempt(head))
    }

    #[inline]
    fn values(&self, key: Option<&Key<'_>>, decisions: &Decisions) -> Values {
        match decisions.reported().listed() {
            Some(Listed::Allowed) => Values::default(),
            _ => self.fields.values(decisions, key, || self.limiter.now()),
        }
    }

    #[inline(never)]
    pub(crate) fn refuse(
        &self,
        key: Option<&Key<'_>>,
        protocol: Protocol,
        decisions: Decisions,
    ) -> Refusal {
        let banned = is_banned(&decisions);
        let (mut response, values) = match &self.options.on_denied {
            Some(answer) if banned => (answer(&Denial { decisions: &decisions }), None),
            Some(answer) => {
                (answer(&Denial { decisions: &decisions }), Some(self.values(key, &decisions)))
            }
            None if banned => {
                let detail = "This client may not use the service.";
                let body = problem::plain(403, "Forbidden", detail);
                (problem_response(StatusCode::FORBIDDEN, body), None)
            }
            None => {
                let (values, body) = self.fields.refusal(&decisions, key, || self.limiter.now());
                (problem_response(StatusCode::TOO_MANY_REQUESTS, body), Some(values))
            }
        };
        if let Some(values) = values {
            values.write(response.headers_mut());
            self.fields.write_retry_after(&decisions, response.headers_mut());
        }
        if protocol != Protocol::Http {
            response = protocol.denied(response, &decisions, self.options.on_denied.is_some());
        }
        if self.options.response_extension {
            response.extensions_mut().insert(decisions);
        }
        response
    }

    /// Says what becomes of a request that could not be decided. Only a storage's failure is a matter of
    /// choice: that a rule is gone is a mistake of the service, and no reason to lift its limits.
    #[cold]
    fn judge_undecided(&self, protocol: Protocol, error: &Error) -> Verdict {
        if let (Error::UnknownRule { .. } | Error::NoRules, true) =
            (error, self.options.rules_by.is_some() || self.waits_for_key)
        {
            self.no_rule.call_once(|| {
                tracing::error!(
                    %error,
                    "a rule that was picked is not there; such requests are answered with 500, but for \
                     a dry run: add the rule, and name it in `declare_rules` to find this when the \
                     service starts"
                );
            });
            if self.options.dry_run {
                return Verdict::Undecided(Marks::denied_dry());
            }
            let detail = "The server is not configured to limit this request.";
            return Verdict::Refused(protocol.undecided(refuse_misconfigured(detail)));
        }
        let on_error = match error {
            Error::Storage(_) => &self.options.on_error,
            _ => &OnError::Refuse,
        };
        match on_error {
            OnError::Refuse | OnError::Answer(_) if self.options.dry_run => {
                self.health.failed(error, "requests pass unlimited, as this is a dry run");
                Verdict::Undecided(Marks { undecided: true, ..Marks::denied_dry() })
            }
            OnError::Refuse => {
                self.health.failed(error, "requests are refused with 503");
                Verdict::Refused(protocol.undecided(refuse_undecided()))
            }
            OnError::Pass => {
                self.health.failed(error, "requests pass unlimited");
                Verdict::Undecided(Marks { undecided: true, ..Marks::default() })
            }
            OnError::Answer(answer) => {
                self.health.failed(error, "requests are refused by the service's own answer");
                Verdict::Refused(protocol.undecided(answer(error)))
            }
        }
    }

    /// Refuses a request without a key, or lets it pass in a dry run; what the service forgot is logged once,
    /// and told to nobody.
    #[expect(clippy::result_large_err, reason = "a refusal is an answer as any other")]
    pub(crate) fn judge_without_key(
        &self,
        protocol: Protocol,
        no_key: &NoKey,
    ) -> Result<Marks, Refusal> {
        if *no_key == NoKey::NoPeer {
            self.no_peer.call_once(|| {
                let then = match self.options.dry_run {
                    true => "no request is limited, nor would be without the dry run",
                    false => "every request is answered with 500",
                };
                tracing::error!("{then}: {no_key}");
            });
        }
        if *no_key == NoKey::NotSaid {
            self.watch.look_at_keyless();
        }
        match self.options.dry_run {
            true => Ok(Marks::denied_dry()),
            false => Err(protocol.undecided(refuse_without_key(no_key))),
        }
    }
}

/// Returns whether no wait lifts the denial because the client is on the deny list for good.
fn is_banned(decisions: &Decisions) -> bool {
    let reported = decisions.reported();
    reported.listed() == Some(Listed::Denied) && reported.retry_after().is_none()
}

pub(crate) fn names(selection: &Selection) -> Option<&[String]> {
    match selection {
        Selection::All => None,
        Selection::Named(names) => Some(names),
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        look_at_gone(&self.limiter);
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("limiter", &self.limiter)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
