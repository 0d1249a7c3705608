use proptest::prelude::*;

use super::*;

fn host(host: &str, port: u16) -> Address {
    Address { host: host.to_owned(), port }
}

#[test]
fn every_scheme_of_the_guide_is_parsed() {
    let options = parse("redis://127.0.0.1:6379/3").unwrap();
    assert_eq!(options.endpoints, Endpoints::Standalone(host("127.0.0.1", 6379)));
    assert_eq!((options.database, options.tls.is_some()), (3, false));

    let options = parse("rediss://redis.example").unwrap();
    assert_eq!(options.endpoints, Endpoints::Standalone(host("redis.example", 6379)));
    assert!(options.tls.is_some());

    let options = parse("redis+sentinel://a:1,b/mymaster/2").unwrap();
    let sentinels = vec![host("a", 1), host("b", 26379)];
    assert_eq!(options.endpoints, Endpoints::Sentinel { sentinels, master: "mymaster".to_owned() });
    assert_eq!(options.database, 2);

    let options = parse("rediss+cluster://10.0.0.1:7000,[2001:db8::1]:7001").unwrap();
    let nodes = vec![host("10.0.0.1", 7000), host("2001:db8::1", 7001)];
    assert_eq!(options.endpoints, Endpoints::Cluster { nodes });
    assert!(options.tls.is_some());
}

#[test]
fn a_unix_socket_is_written_as_in_the_redis_crate() {
    for scheme in ["unix", "redis+unix", "valkey+unix", "UNIX"] {
        let options = parse(&format!("{scheme}:///run/my%20redis.sock?db=2&user=u%40&pass=p%26"));
        let options = options.unwrap();
        assert_eq!(options.endpoints, Endpoints::Unix("/run/my redis.sock".into()));
        assert_eq!(options.login.username.as_deref(), Some("u@"));
        assert_eq!(options.login.password.as_deref(), Some("p&"));
        assert_eq!(options.database, 2);
    }
    let options = parse("redis+unix://u:p@/run/redis.sock?prefix=a:").unwrap();
    assert_eq!(options.login.password.as_deref(), Some("p"));
    assert_eq!(
        (options.endpoints, &options.key_prefix[..]),
        (Endpoints::Unix("/run/redis.sock".into()), "a:")
    );
}

#[test]
fn every_parameter_sets_its_option() {
    let options = parse(
        "rediss://h?max_connections=50&prefix=app%3A&connect_timeout=5s&response_timeout=250ms\
         &retries=1&health_check_interval=2m&permit_lease=30s&client_name=web&protocol=2&db=4\
         &sentinel_username=u&sentinel_password=p%26&ca=ca.pem&cert=c.crt&key=c.key",
    )
    .unwrap();
    assert_eq!(options.max_connections, 50);
    assert_eq!(options.key_prefix, "app:");
    assert_eq!(options.connect_timeout, Duration::from_secs(5));
    assert_eq!(options.response_timeout, Duration::from_millis(250));
    assert_eq!((options.retries, options.database, options.resp3), (1, 4, false));
    assert_eq!(options.health_check_interval, Duration::from_secs(120));
    assert_eq!(options.permit_lease, Duration::from_secs(30));
    assert_eq!(options.client_name.as_deref(), Some("web"));
    assert_eq!(options.sentinel_login.username.as_deref(), Some("u"));
    assert_eq!(options.sentinel_login.password.as_deref(), Some("p&"));
    assert_eq!(format!("{:?}", options.tls.unwrap()).matches(".c").count(), 1);
}

#[test]
fn a_login_is_decoded_and_never_shown() {
    let options = parse("redis://us%40er:hunter2%2F@h:1/0?sentinel_password=hunter2").unwrap();
    assert_eq!(options.login.username.as_deref(), Some("us@er"));
    assert_eq!(options.login.password.as_deref(), Some("hunter2/"));
    assert!(!format!("{options:?}").contains("hunter2"));

    let options = parse("redis://:only-a-password@h").unwrap();
    assert_eq!(options.login.username, None);
    assert_eq!(options.login.password.as_deref(), Some("only-a-password"));
}

#[test]
fn an_error_names_the_fault_and_not_the_password() {
    for (url, expected) in [
        ("127.0.0.1:6379", "no scheme"),
        ("http://:hunter2@h", "rediss+cluster"),
        ("hunter2://h", "rediss+cluster"),
        ("redis+mirror://h", "rediss+cluster"),
        ("rediss+unix:///s", "rediss+cluster"),
        ("redis://:hunter2@", "host"),
        ("redis://:hun/ter2@h", "@"),
        ("redis://default:7/hunter2@h", "%2F"),
        ("redis://default:7?hunter2@h", "%3F"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://[::1", "host"),
        ("redis://[nonsense]:1", "host"),
        ("redis://::1:6379", "host"),
        ("redis://a,b", "several"),
        ("redis://h/x", "whole number"),
        ("redis+sentinel://h:1", "master"),
        ("redis://h?db=1&color=hunter2", "parameter number 2"),
        ("redis://h?db=hunter2", "whole number"),
        ("redis://h?sentinel_password=a&hunter2", "%26"),
        ("redis://h?user=u", "parameter number 1"),
        ("unix:/run/redis.sock", "no scheme"),
        ("unix://run/redis.sock", "no host"),
        ("redis+unix://", "name the socket"),
        ("redis+unix:///s?ca=ca.pem", "without TLS"),
        ("redis://h?connect_timeout=soon", "connect_timeout"),
        ("redis://h?max_connections=-1", "max_connections"),
        ("redis://h?protocol=4", "2 or 3"),
        ("redis://h?ca=ca.pem", "rediss"),
        ("redis://:hunter2@h#hunter2", "fragment"),
        ("redis://:%ff@h", "UTF-8"),
    ] {
        let error = parse(url).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(url in "(redis(s)?(\\+(sentinel|cluster))?://)?[ -~]{0,40}\\PC{0,8}") {
        let _ = parse(&url);
    }

    #[test]
    fn a_percent_encoded_password_is_decoded(password in "[a-zA-Z0-9%:/@?#&]{1,20}", port in 1_u16..) {
        let encoded: String = password.bytes().map(|b| format!("%{b:02X}")).collect();
        let options = parse(&format!("redis://u:{encoded}@h:{port}/")).unwrap();
        prop_assert_eq!(options.login.password, Some(password));
        prop_assert_eq!(options.endpoints, Endpoints::Standalone(host("h", port)));
    }
}
