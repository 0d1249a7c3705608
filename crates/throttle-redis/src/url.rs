//! The parser of address URLs, such as `redis://user:password@host:6379/0?max_connections=2`.

use std::{str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;

use crate::{
    error::Error,
    options::{Address, Endpoints, Options},
    tls::Tls,
};

const UNIX: &str = "write it as redis+unix:///run/redis/redis.sock";
const ESCAPES: &str =
    "in a username, a password or a value write @ / ? & # % as %40 %2F %3F %26 %23 %25";
const PARAMETERS: &str = "max_connections, prefix, connect_timeout, response_timeout, retries, \
     health_check_interval, permit_lease, client_name, protocol, db, sentinel_username, sentinel_password, ca, \
     cert and key, and user and pass of a Unix socket";

/// Parses an address.
///
/// Errors do not quote the address: if it cannot be parsed, any part of it may belong to a password.
pub(crate) fn parse(url: &str) -> Result<Options, Error> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| wrong("it has no scheme", "start it with redis:// or rediss://"))?;
    let (tls, kind) = scheme_of(scheme)?;
    if rest.contains('#') {
        return Err(wrong("it has a fragment", ESCAPES));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') || query.contains('@') {
        // The password contains an unescaped / or ?, so the apparent host is a part of it.
        return Err(wrong("it has an @ after its host", ESCAPES));
    }
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };

    let (endpoints, database) = match kind {
        Kind::Standalone => {
            let address = match &addresses(hosts, 6379)?[..] {
                [one] => one.clone(),
                _ => {
                    let help = "use redis+sentinel:// or redis+cluster:// for several servers";
                    return Err(wrong("it names several hosts", help));
                }
            };
            (Endpoints::Standalone(address), path)
        }
        Kind::Sentinel => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            let master = decoded(master)?;
            if master.is_empty() {
                let help = "write it as redis+sentinel://host:26379/mymaster/0";
                return Err(wrong("it does not name the master", help));
            }
            (Endpoints::Sentinel { sentinels: addresses(hosts, 26379)?, master }, database)
        }
        Kind::Cluster => (Endpoints::Cluster { nodes: addresses(hosts, 6379)? }, path),
        Kind::Unix if !hosts.is_empty() => return Err(wrong("a Unix socket has no host", UNIX)),
        Kind::Unix if path.is_empty() => return Err(wrong("it does not name the socket", UNIX)),
        Kind::Unix => (Endpoints::Unix(format!("/{}", decoded(path)?).into()), ""),
    };
    let mut options = Options::new(endpoints);
    options.tls = tls.then(Tls::new);
    if !database.is_empty() {
        options.database = number("database", database)?;
    }
    if let Some(login) = login {
        let (username, password) = match login.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (login, None),
        };
        options.login.username = Some(decoded(username)?).filter(|name| !name.is_empty());
        options.login.password = password.map(decoded).transpose()?;
    }
    for (i, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !set(&mut options, name, &decoded(value)?)? {
            let what = format!("its parameter number {} is unknown", i + 1);
            return Err(wrong(&what, &format!("the parameters are {PARAMETERS}; {ESCAPES}")));
        }
    }
    Ok(options)
}

enum Kind {
    Standalone,
    Sentinel,
    Cluster,
    Unix,
}

fn scheme_of(scheme: &str) -> Result<(bool, Kind), Error> {
    let scheme = scheme.to_ascii_lowercase();
    let (base, kind) = match scheme.split_once('+') {
        None if scheme == "unix" => ("redis", Kind::Unix),
        None => (&scheme[..], Kind::Standalone),
        Some((base @ ("redis" | "valkey"), "unix")) => (base, Kind::Unix),
        Some((base, "sentinel")) => (base, Kind::Sentinel),
        Some((base, "cluster")) => (base, Kind::Cluster),
        Some(_) => return Err(Error::UnknownScheme),
    };
    match base {
        "redis" | "valkey" => Ok((false, kind)),
        "rediss" | "valkeys" => Ok((true, kind)),
        _ => Err(Error::UnknownScheme),
    }
}

/// Sets the option of a parameter, and returns whether the parameter exists.
fn set(options: &mut Options, name: &str, value: &str) -> Result<bool, Error> {
    let is_unix = matches!(options.endpoints, Endpoints::Unix(_));
    match name {
        "max_connections" => options.max_connections = number("max_connections", value)?,
        "prefix" => options.key_prefix = value.to_owned(),
        "connect_timeout" => options.connect_timeout = span("connect_timeout", value)?,
        "response_timeout" => options.response_timeout = span("response_timeout", value)?,
        "retries" => options.retries = number("retries", value)?,
        "health_check_interval" => {
            options.health_check_interval = span("health_check_interval", value)?;
        }
        "permit_lease" => options.permit_lease = span("permit_lease", value)?,
        "client_name" => options.client_name = Some(value.to_owned()),
        "protocol" => match value {
            "2" | "resp2" => options.resp3 = false,
            "3" | "resp3" => options.resp3 = true,
            _ => return Err(unreadable("protocol", "2 or 3")),
        },
        "db" => options.database = number("db", value)?,
        "user" if is_unix => options.login.username = Some(value.to_owned()),
        "pass" if is_unix => options.login.password = Some(value.to_owned()),
        "sentinel_username" => options.sentinel_login.username = Some(value.to_owned()),
        "sentinel_password" => options.sentinel_login.password = Some(value.to_owned()),
        "ca" | "cert" | "key" => {
            let Some(tls) = &mut options.tls else {
                let help = "use rediss://, rediss+sentinel:// or rediss+cluster://";
                return Err(wrong("it names files for TLS, but its scheme is without TLS", help));
            };
            match name {
                "ca" => tls.set_ca(value.to_owned()),
                "cert" => tls.set_certificate(value.to_owned()),
                _ => tls.set_key(value.to_owned()),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Parses `host:port,host:port`. IPv6 addresses are in brackets.
fn addresses(hosts: &str, default_port: u16) -> Result<Vec<Address>, Error> {
    hosts.split(',').map(|host| address(host, default_port)).collect()
}

/// Parses `host`, `host:port` or `[v6]:port`.
pub(crate) fn address(text: &str, default_port: u16) -> Result<Address, Error> {
    let bad = || {
        wrong("a host is missing or invalid", "write host:port, with IPv6 addresses in brackets")
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or_else(bad)?),
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(bad());
    }
    let port = match port {
        None => default_port,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(wrong("a port is not a number from 1 to 65535", "write host:port")),
        },
    };
    Ok(Address { host: host.to_owned(), port })
}

fn decoded(text: &str) -> Result<String, Error> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| wrong("a part is not UTF-8", "encode its bytes as %XX"))
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| unreadable(name, "a whole number"))
}

/// Parses `5s`, `500ms`, `2m`, or a number of seconds.
fn span(name: &str, value: &str) -> Result<Duration, Error> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(end);
    let bad = || unreadable(name, "a duration, such as 5s or 500ms");
    let number: u64 = digits.parse().map_err(|_| bad())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(bad()),
    }
}

fn unreadable(name: &str, allowed: &str) -> Error {
    wrong(&format!("its {name} is not {allowed}"), ESCAPES)
}

fn wrong(what: &str, help: &str) -> Error {
    Error::InvalidUrl { what: what.to_owned(), help: help.to_owned() }
}

#[cfg(test)]
mod tests;
