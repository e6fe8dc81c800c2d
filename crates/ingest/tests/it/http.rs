//! The HTTP device API through its router.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use veritwin_domain::{IngestLimits, Key, ManualClock, Timestamp, Value};
use veritwin_ingest::http::{HttpParts, router};
use veritwin_ingest::{Downlink, LinkError, RpcRequest, Sink, SinkEntry, SubmitError};

use crate::platform::{API_KEY, Door, NOW_MICROS, OTHER, Store};

fn api(limits: IngestLimits) -> (Router, Arc<Store>) {
    let store = Arc::new(Store::default());
    let router = router(HttpParts {
        login: Arc::new(Door),
        sink: Arc::clone(&store) as Arc<dyn Sink>,
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(NOW_MICROS))),
        limits,
    });
    (router, store)
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let status = response.status();
    let is_problem = response
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/problem+json");
    assert_eq!(is_problem, status.is_client_error() || status.is_server_error(), "{status}");
    let body = response.into_body().collect().await.expect("body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).expect("request")
}

type Headers<'a> = &'a [(&'a str, &'a str)];

const BEARER: (&str, &str) = ("authorization", "Bearer token");
const KEY: (&str, &str) = ("authorization", "Bearer key");

#[tokio::test]
async fn answers() {
    let (router, store) = api(IngestLimits::default());
    let table = [
        ("POST", "/api/v1/token/telemetry", "{\"t\":1}", 200, ""),
        ("POST", "/api/v1/telemetry", "{\"ts\":7,\"values\":{\"t\":1}}", 200, ""),
        ("POST", "/api/v1/wrong/telemetry", "{\"t\":1}", 401, "unknown credential"),
        ("POST", "/api/v1/disabled/telemetry", "{\"t\":1}", 403, "disabled"),
        ("POST", "/api/v1/busy/telemetry", "{\"t\":1}", 429, "attempts_max"),
        ("POST", "/api/v1/telemetry", "{\"t\":}", 400, "\"position\":5"),
        ("POST", "/api/v1/telemetry", "{\"forbidden\":1}", 422, "policy deny-list"),
        ("POST", "/api/v1/attributes", "{\"fw\":\"1\"}", 200, ""),
        ("POST", "/api/v1/attributes", "{\"over\":1}", 413, "\"limit\":\"attributes_max\""),
        (
            "GET",
            "/api/v1/attributes?clientKeys=a&sharedKeys=b%2Cc",
            "",
            200,
            "{\"client\":{\"a\":2.0},\"shared\":{\"b\":2.0,\"c\":2.0}}",
        ),
        ("POST", "/api/v1/rpc", "{\"method\":\"echo\",\"params\":[1]}", 200, "[1]"),
        ("POST", "/api/v1/rpc", "{\"method\":\"fly\"}", 404, "no such method"),
        ("POST", "/api/v1/rpc/12", "{\"ok\": true}", 200, ""),
        ("POST", "/api/v1/token/rpc/x", "1", 400, "expected the call's number"),
        ("GET", "/api/v1/rpc?timeout=1", "", 408, "nothing came in time"),
        ("GET", "/api/v1/rpc?timeout=x", "", 400, "expected milliseconds"),
        ("POST", "/api/v1/claim", "", 200, ""),
        ("POST", "/api/v1/token/claim", "{\"secretKey\":\"s\",\"durationMs\":9}", 200, ""),
        ("POST", "/api/v1/claim", "{\"secretKey\":7}", 400, "secretKey (text)"),
        ("POST", "/api/v1/claim", "{\"secretKey\":\"refused\"}", 403, "not this one"),
        ("POST", "/api/v1/provision", "{}", 200, "FAILURE"),
    ];
    for (method, path, body, status, part) in table {
        let (found, answer) = send(&router, request(method, path, &[BEARER], body)).await;
        assert_eq!(found.as_u16(), status, "{method} {path} {body}: {answer}");
        assert!(answer.contains(part), "{method} {path} {body}: {answer}");
    }
    let (status, _) = send(&router, request("POST", "/api/v1/telemetry", &[], "{}")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(store.readings().len(), 2);
    assert_eq!(store.replies.lock()[0].id, 12);
    let claims = store.claims.lock().clone();
    assert_eq!(claims, [(String::new(), None), ("s".to_owned(), Some(Duration::from_millis(9)))]);
    assert!(store.links.lock().is_empty());
}

#[tokio::test]
async fn a_failed_commit_is_an_error() {
    let (router, store) = api(IngestLimits::default());
    *store.failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
    let (status, answer) =
        send(&router, request("POST", "/api/v1/telemetry", &[BEARER], "{\"t\":1}")).await;
    assert_eq!((status.as_u16(), answer.contains("disk full")), (503, true));
}

#[tokio::test]
async fn long_polls_receive_calls_and_updates() {
    let (router, store) = api(IngestLimits::default());
    let waiting = {
        let router = router.clone();
        tokio::spawn(
            async move { send(&router, request("GET", "/api/v1/token/rpc", &[], "")).await },
        )
    };
    let link = store.link(|link| link.wants_rpc()).await;
    let call = RpcRequest { id: 3, method: "open".to_owned(), params: "{}".to_owned() };
    link.send(Downlink::Rpc(call.clone())).expect("sent");
    // A poll takes one: whoever asks for the second is told so, and does not wait in vain.
    assert_eq!(link.send(Downlink::Rpc(call)), Err(LinkError::Full));
    let (status, answer) = waiting.await.expect("answered");
    assert_eq!(
        (status.as_u16(), answer.as_str()),
        (200, "{\"id\":3,\"method\":\"open\",\"params\":{}}")
    );

    // What one change sets and what it deletes is one answer. 0 waits as who names no time.
    let waiting = {
        let router = router.clone();
        let path = "/api/v1/token/attributes/updates?timeout=0";
        tokio::spawn(async move { send(&router, request("GET", path, &[], "")).await })
    };
    let link = store.link(|link| link.wants_attributes()).await;
    let key = |text: &str| Key::new(text).expect("a key");
    let set = vec![(key("a"), Value::Integer(1)), (key("b"), Value::Integer(2))];
    link.send(Downlink::AttributesUpdated(set)).expect("sent");
    link.send(Downlink::AttributesDeleted(vec![key("b"), key("c")])).expect("sent");
    let (status, answer) = waiting.await.expect("answered");
    let expect = r#"{"a":1,"deleted":["b","c"]}"#;
    assert_eq!((status.as_u16(), answer.as_str()), (200, expect));

    // A client that goes away is detached, too.
    let abandoned = {
        let router = router.clone();
        tokio::spawn(async move {
            send(&router, request("GET", "/api/v1/attributes/updates", &[BEARER], "")).await
        })
    };
    store.link(|link| link.wants_attributes()).await;
    abandoned.abort();
    while !store.links.lock().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_without_a_time_are_told_apart() {
    let (router, store) = api(IngestLimits::default());
    let telemetry = || request("POST", "/api/v1/token/telemetry", &[], "[{\"t\":1},{\"t\":1}]");
    let bulk = || request("POST", "/v1/telemetry/write", &[KEY], "pump t=1\npump t=1\n");
    for request in [telemetry(), bulk(), telemetry(), bulk()] {
        let (status, answer) = send(&router, request).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let batches = store.entries().into_iter().filter_map(|entry| match entry {
        SinkEntry::Readings(batch) => Some(batch.readings),
        _ => None,
    });
    let times: Vec<i64> = batches.flatten().map(|reading| reading.at.as_micros()).collect();
    let expect: Vec<i64> = (0..8).map(|after| NOW_MICROS + after).collect();
    assert_eq!(times, expect);
}

#[tokio::test]
async fn bulk_writes() {
    let (router, store) = api(IngestLimits::default());
    let lines = "pump t=1 7\nvalve open=t 8\npump t=2 9\n";
    let path = "/v1/telemetry/write?precision=ms";
    let (status, answer) = send(&router, request("POST", path, &[KEY], lines)).await;
    assert_eq!((status.as_u16(), answer.as_str()), (200, "{\"devices\":2,\"readings\":3}"));
    let entries = store.entries();
    assert_eq!(store.submissions.lock().len(), 1, "all or nothing");
    let SinkEntry::Readings(valve) = &entries[1] else { panic!("{entries:?}") };
    assert_eq!((valve.device, valve.credential), (OTHER, API_KEY));
    assert_eq!(valve.readings[0].value, Value::Boolean(true));

    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(lines.as_bytes()).expect("gzip");
        encoder.finish().expect("gzip")
    };
    let zstd = zstd::encode_all(lines.as_bytes(), 1).expect("zstd");
    for (encoding, body) in [("gzip", gzip), ("zstd", zstd)] {
        let headers = [KEY, ("content-encoding", encoding)];
        let (status, answer) = send(&router, request("POST", path, &headers, body)).await;
        assert_eq!(status, StatusCode::OK, "{encoding}: {answer}");
    }

    let before = store.entries().len();
    let bomb = zstd::encode_all(&vec![b'#'; 9 * 1024 * 1024][..], 1).expect("zstd");
    let json = ("content-type", "application/x-ndjson");
    let table: [(Headers<'_>, Vec<u8>, u16, &str); 11] = [
        (&[KEY], b"pump t=1 7\nghost t=1 8".to_vec(), 400, "\"line\":2"),
        (&[KEY], b"pump t=1 7\npump t=x 8".to_vec(), 400, "\"line\":2,\"column\":8"),
        (
            &[KEY, ("content-type", "application/x-ndjson")],
            b"{\"device\":\"pump\"}".to_vec(),
            400,
            "\"line\":1",
        ),
        (&[KEY, ("content-type", "text/csv")], b"a,b".to_vec(), 415, "application/x-ndjson"),
        (&[KEY, ("content-encoding", "br")], b"a".to_vec(), 415, "expected gzip, zstd"),
        (&[KEY, ("content-encoding", "gzip")], b"a".to_vec(), 400, "Content-Encoding"),
        (&[KEY, ("content-encoding", "zstd")], bomb, 413, "at most 8388608, got more"),
        (&[KEY], vec![b'#'; 9 * 1024 * 1024], 413, "\"limit\":\"body_bytes_max\""),
        (&[], b"pump t=1".to_vec(), 401, "Authorization"),
        (&[("authorization", "Bearer x")], b"pump t=1".to_vec(), 401, "unknown credential"),
        (&[KEY], b"pump forbidden=1".to_vec(), 422, "policy"),
    ];
    for (headers, body, status, part) in table {
        let (found, answer) = send(&router, request("POST", path, headers, body)).await;
        assert_eq!(found.as_u16(), status, "{part}: {answer}");
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert_eq!(store.entries().len(), before, "nothing is stored when anything is wrong");

    let token = [("authorization", "Token token"), json];
    let (status, _) =
        send(&router, request("POST", "/v1/telemetry/write", &token, "{\"t\":1}")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn bulk_writes_of_tables() {
    let (router, store) = api(IngestLimits::default());
    let arrow = ("content-type", "application/vnd.apache.arrow.stream");
    let named = &include_bytes!("../../../../fuzz/corpus/arrow/named")[1..];
    let path = "/v1/telemetry/write";
    let (status, answer) = send(&router, request("POST", path, &[KEY, arrow], named)).await;
    assert_eq!((status.as_u16(), answer.as_str()), (200, "{\"devices\":2,\"readings\":4}"));
    let packed = zstd::encode_all(named, 1).expect("zstd");
    let headers = [KEY, arrow, ("content-encoding", "zstd")];
    assert_eq!(send(&router, request("POST", path, &headers, packed)).await.0, StatusCode::OK);
    let own = &include_bytes!("../../../../fuzz/corpus/arrow/own")[1..];
    let (status, answer) = send(&router, request("POST", path, &[BEARER, arrow], own)).await;
    assert_eq!((status.as_u16(), answer.as_str()), (200, "{\"devices\":1,\"readings\":5}"));

    let before = store.entries().len();
    // In place of the valve a device that there is not.
    let at = named.windows(5).position(|part| part == b"valve").expect("a name");
    let mut ghost = named.to_vec();
    ghost[at..at + 5].copy_from_slice(b"ghost");
    let card = &include_bytes!("../../../../fuzz/corpus/arrow/refused_text")[1..];
    let unsigned = &include_bytes!("../../../../fuzz/corpus/arrow/unsigned")[1..];
    type Row<'a> = ((&'a str, &'a str), &'a [u8], u16, &'a str);
    let table: [Row<'_>; 6] = [
        (KEY, &ghost, 400, "\"row\":2"),
        (KEY, own, 400, "expected a column device"),
        (BEARER, named, 400, "for itself only"),
        (BEARER, unsigned, 400, "\"row\":1,\"column\":1"),
        (BEARER, card, 422, "\"row\":1,\"column\":1"),
        (BEARER, b"ARROW1", 400, "\"position\":0"),
    ];
    for (who, body, status, part) in table {
        let (found, answer) =
            send(&router, request("POST", path, &[who, arrow], body.to_vec())).await;
        assert_eq!(found.as_u16(), status, "{part}: {answer}");
        assert!(answer.contains(part) && !answer.contains("\"line\""), "{part}: {answer}");
    }
    assert_eq!(store.entries().len(), before, "nothing is stored when anything is wrong");
}

#[tokio::test]
async fn nobody_waits_for_the_body_of_a_stranger() {
    let (router, store) = api(IngestLimits::default());
    for path in ["/v1/telemetry/write", "/api/v1/telemetry", "/v1/edge/batches"] {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
        let wrong = [("authorization", "Bearer wrong")];
        let (status, _) = send(&router, request("POST", path, &wrong, endless)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    // Whoever comes in by itself is nobody yet, and says little.
    let long = vec![b' '; 64 * 1024 + 1];
    let (status, text) = send(&router, request("POST", "/api/v1/provision", &[], long)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(store.readings().is_empty());
}
