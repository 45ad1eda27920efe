//! Against a kubelet that answers over a real socket, and against everything else that may sit behind one.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::{Response, transport::Server};

use super::super::message::{ClaimResource, ContainerDevices, DynamicResource, PodResources as Pod};
use super::*;

/// What the kubelet of a test says.
#[derive(Clone, Default)]
struct Kubelet {
    pods: Vec<Pod>,
    devices: Vec<ContainerDevices>,
    refuses: Option<Status>,
}

type Answered<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

macro_rules! serves {
    ($question:ty, $answer:ty, $make:expr) => {
        impl UnaryService<$question> for Kubelet {
            type Response = $answer;
            type Future = Answered<Response<$answer>>;

            fn call(&mut self, _: Request<$question>) -> Self::Future {
                let make: fn(&Self) -> $answer = $make;
                let answer = self.refuses.clone().map_or_else(|| Ok(Response::new(make(self))), Err);
                Box::pin(async move { answer })
            }
        }
    };
}
serves!(ListPodResourcesRequest, ListPodResourcesResponse, |own| ListPodResourcesResponse {
    pod_resources: own.pods.clone()
});
serves!(AllocatableResourcesRequest, AllocatableResourcesResponse, |own| AllocatableResourcesResponse {
    devices: own.devices.clone()
});

/// The API `v1`, or only its predecessor.
#[derive(Clone)]
struct Served<const V1: bool>(Kubelet);

impl NamedService for Served<true> {
    const NAME: &'static str = "v1.PodResourcesLister";
}
impl NamedService for Served<false> {
    const NAME: &'static str = "v1alpha1.PodResourcesLister";
}

impl<const V1: bool> Service<http::Request<Body>> for Served<V1> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let kubelet = self.0.clone();
        Box::pin(async move {
            let list = request.uri().path().ends_with("/List");
            Ok(if list {
                let codec = ProstCodec::<ListPodResourcesResponse, ListPodResourcesRequest>::default();
                tonic::server::Grpc::new(codec).unary::<_, Body>(kubelet, request).await
            } else {
                let codec = ProstCodec::<AllocatableResourcesResponse, AllocatableResourcesRequest>::default();
                tonic::server::Grpc::new(codec).unary::<_, Body>(kubelet, request).await
            })
        })
    }
}

/// A socket of its own, removed in the end.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("retile-kubelet-{}-{number}.sock", std::process::id())))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

/// Serves a kubelet and hands over its client.
async fn with_kubelet<const V1: bool, T, F: Future<Output = T>>(
    kubelet: Kubelet,
    ask: impl FnOnce(PodResources) -> F,
) -> T
where
    Served<V1>: NamedService,
{
    let socket = Socket::new();
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket.0).expect("a free path"));
    let server = tokio::spawn(Server::builder().add_service(Served::<V1>(kubelet)).serve_with_incoming(incoming));
    let answer = ask(PodResources::new(&socket.0)).await;
    server.abort();
    answer
}

fn devices(resource: &str, ids: &[&str]) -> ContainerDevices {
    let device_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    ContainerDevices { resource_name: resource.into(), device_ids }
}

fn pod(name: &str, devices: Vec<ContainerDevices>) -> Pod {
    let container = ContainerResources { name: "main".into(), devices, dynamic_resources: Vec::new() };
    Pod { name: name.into(), namespace: "team".into(), containers: vec![container] }
}

async fn holdings_of(pods: Vec<Pod>) -> Result<Vec<Holding>, PodResourcesError> {
    let kubelet = Kubelet { pods, ..Kubelet::default() };
    with_kubelet::<true, _, _>(kubelet, |client| async move { client.holdings().await }).await
}

#[test]
fn tells_who_holds_which_mig_device() {
    let pods = vec![
        pod("shared", vec![devices("nvidia.com/mig-1g.10gb.shared", &["MIG-a::1", "MIG-a::0"])]),
        pod("plain", vec![devices("nvidia.com/mig-2g.20gb", &["MIG-b"]), devices("rdma/hca", &["0"])]),
        pod("whole", vec![devices("nvidia.com/gpu", &["GPU-1"])]),
        pod("nothing", Vec::new()),
    ];
    let told = run(holdings_of(pods)).expect("understood");
    let shown: Vec<String> =
        told.iter().map(|holding| format!("{}/{} {}", holding.namespace, holding.pod, holding.device)).collect();
    assert_eq!(shown, ["team/plain MIG-b", "team/shared MIG-a::0", "team/shared MIG-a::1"]);
}

#[test]
fn tells_what_is_offered_each_device_once() {
    let kubelet = Kubelet {
        devices: vec![
            devices("nvidia.com/mig-1g.10gb.shared", &["MIG-c::0", "MIG-c::1", "MIG-a::0"]),
            devices("nvidia.com/mig-2g.20gb", &["MIG-b"]),
            devices("nvidia.com/gpu", &["GPU-1"]),
        ],
        ..Kubelet::default()
    };
    let offered = run(with_kubelet::<true, _, _>(kubelet, |client| async move { client.allocatable().await }));
    assert_eq!(offered.expect("understood"), ["MIG-a", "MIG-b", "MIG-c"]);
}

#[test]
fn ids_by_index_are_an_error_with_the_reason() {
    let error = run(holdings_of(vec![pod("p", vec![devices("nvidia.com/mig-1g.10gb", &["0:2"])])]));
    let error = error.expect_err("an index");
    assert!(matches!(error, PodResourcesError::Device(DeviceIdError::ByIndex { .. })), "{error}");
}

#[test]
fn gpus_of_dynamic_resource_allocation_are_an_error() {
    let claimed = |driver: &str| {
        let claim_resources = vec![ClaimResource { driver_name: driver.into(), device_name: "gpu-0-mig-1g".into() }];
        let mut pod = pod("p", Vec::new());
        pod.containers[0].dynamic_resources = vec![DynamicResource { claim_resources }];
        pod
    };
    let error = run(holdings_of(vec![claimed("gpu.nvidia.com")])).expect_err("a device without UUID");
    assert!(matches!(&error, PodResourcesError::DynamicResource { .. }), "{error}");
    assert!(error.to_string().contains("team/p"), "{error}");
    assert_eq!(run(holdings_of(vec![claimed("network.example.com")])).expect("none of ours"), []);
}

#[test]
fn a_kubelet_that_speaks_only_the_old_api_is_named() {
    let answer = with_kubelet::<false, _, _>(Kubelet::default(), |client| async move { client.holdings().await });
    let error = run(answer).expect_err("no v1");
    assert!(matches!(&error, PodResourcesError::NotServed { method: "List" }), "{error}");
}

#[test]
fn a_refusal_is_passed_on() {
    let kubelet = Kubelet { refuses: Some(Status::resource_exhausted("too many requests")), ..Kubelet::default() };
    let error = run(with_kubelet::<true, _, _>(kubelet, |client| async move { client.holdings().await }));
    let error = error.expect_err("refused");
    assert!(matches!(&error, PodResourcesError::Call { code: Code::ResourceExhausted, .. }), "{error}");
    assert!(error.to_string().contains("too many requests"), "{error}");
}

#[test]
fn an_answer_that_is_too_large_is_an_error() {
    let ids: Vec<String> = (0..200_000).map(|number| format!("MIG-{}-{number}", "0".repeat(90))).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let error = run(holdings_of(vec![pod("p", vec![devices("nvidia.com/mig-1g.10gb", &ids)])]));
    let error = error.expect_err("more than the limit");
    assert!(matches!(&error, PodResourcesError::Call { code: Code::OutOfRange, .. }), "{error}");
}

#[test]
fn a_socket_that_is_not_there_is_named_with_the_remedy() {
    let missing = Socket::new();
    let error = run(PodResources::new(&missing.0).holdings()).expect_err("nothing there");
    assert!(matches!(&error, PodResourcesError::Connect { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&*missing.0.to_string_lossy()) && text.contains("mounted"), "{text}");
}

/// Answers every connection with what `say` makes of it.
async fn behind_the_socket<F: Future<Output = ()> + Send + 'static>(
    say: impl Fn(tokio::net::UnixStream) -> F + Send + 'static,
) -> PodResourcesError {
    let socket = Socket::new();
    let listener = UnixListener::bind(&socket.0).expect("a free path");
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(say(stream));
        }
    });
    let client = PodResources::new(&socket.0).with_limit(Duration::from_millis(500));
    let error = client.holdings().await.expect_err("no kubelet");
    server.abort();
    error
}

#[test]
fn garbage_is_an_error() {
    let error = run(behind_the_socket(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\xff\xfe\x00garbage").await;
    }));
    assert!(
        matches!(&error, PodResourcesError::Call { .. } | PodResourcesError::Connect { .. }),
        "an answer at once, not a timeout: {error}"
    );
}

#[test]
fn silence_is_an_error_after_the_limit() {
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let error = run(behind_the_socket(move |stream| {
        kept.lock().expect("no panic holds it").push(stream);
        async {}
    }));
    assert!(matches!(&error, PodResourcesError::Timeout { .. }), "{error}");
}
