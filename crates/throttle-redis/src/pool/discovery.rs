//! The discovery of a master through a sentinel ([Redis Sentinel]).
//!
//! [Redis Sentinel]: https://redis.io/docs/latest/develop/reference/sentinel-clients/

use std::collections::HashMap;

use redis::{
    ConnectionInfo, ErrorKind, RedisError, Value, aio::MultiplexedConnection, cmd, from_redis_value,
};

use crate::{
    options::Address,
    transport::{Encryption, open},
};

/// Queries a sentinel for the master of a name, and confirms the role with the master itself.
///
/// `server` returns the connection settings for an address.
pub(super) async fn discover_master(
    sentinel: &ConnectionInfo,
    name: &str,
    encryption: Option<&Encryption>,
    server: impl Fn(&Address) -> Result<ConnectionInfo, RedisError>,
) -> Result<ConnectionInfo, RedisError> {
    let mut asked = open(sentinel, encryption, || ()).await?;
    if role(&mut asked.sender.multiplexed).await? != "sentinel" {
        let text = "the address does not point to a sentinel";
        return Err((ErrorKind::InvalidClientConfig, text).into());
    }
    asked.sender.wire.set_established(); // allows a large reply: the sentinel may monitor many masters
    let masters: Vec<HashMap<String, String>> =
        cmd("SENTINEL").arg("MASTERS").query_async(&mut asked.sender.multiplexed).await?;
    for address in masters.iter().filter_map(|master| address(master, name)) {
        let info = server(&address)?;
        let mut asked = open(&info, encryption, || ()).await?;
        if is_master(&mut asked.sender.multiplexed).await? {
            return Ok(info);
        }
    }
    let text = "the sentinel reports no reachable master with this name";
    Err((ErrorKind::MasterNameNotFoundBySentinel, text).into())
}

/// Returns the address of a master, if it has this name and the sentinel reports it as up.
fn address(master: &HashMap<String, String>, name: &str) -> Option<Address> {
    let of = |field: &str| master.get(field).map(String::as_str);
    let flags = of("flags")?;
    let is_up = flags.contains("master") && !flags.contains("s_down") && !flags.contains("o_down");
    let port = of("port")?.parse().ok()?;
    (of("name")? == name && is_up).then(|| Some(Address { host: of("ip")?.to_owned(), port }))?
}

async fn is_master(connection: &mut MultiplexedConnection) -> Result<bool, RedisError> {
    if let Ok(role) = role(connection).await {
        return Ok(role == "master");
    }
    // The user may have no permission for ROLE.
    let info: String = cmd("INFO").arg("REPLICATION").query_async(connection).await?;
    Ok(info.lines().any(|line| line.trim_end() == "role:master"))
}

async fn role(connection: &mut MultiplexedConnection) -> Result<String, RedisError> {
    let answer: Vec<Value> = cmd("ROLE").query_async(connection).await?;
    Ok(answer.into_iter().next().map(from_redis_value).transpose()?.unwrap_or_default())
}
