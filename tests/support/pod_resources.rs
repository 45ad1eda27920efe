//! A kubelet's pod-resources socket, API `v1`: `List` and `GetAllocatableResources`. What it says comes from whoever plays the kubelet.
//!
//! Messages are written down here once more, from `k8s.io/kubelet/pkg/apis/podresources/v1/api.proto`, so that a slip in those that the agent
//! reads is noticed, not inherited.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Question {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    pod_resources: Vec<Pod>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Pod {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(message, repeated, tag = "3")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    devices: Vec<Group>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Group {
    #[prost(string, tag = "1")]
    resource_name: String,
    #[prost(string, repeated, tag = "2")]
    device_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Allocatable {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Group>,
}

/// What a pod holds.
#[derive(Debug, Clone)]
pub struct Holder {
    pub namespace: String,
    pub name: String,
    /// Resource and device.
    pub devices: Vec<(String, String)>,
}

/// Who plays the kubelet.
pub trait Source: Send + Sync + 'static {
    /// Pods and what they hold.
    fn holders(&self) -> Vec<Holder>;

    /// What the device plugin offers, by resource.
    fn offered(&self) -> BTreeMap<String, Vec<String>>;
}

/// Serves the socket until the task is aborted, on the runtime that this is called in.
pub fn serve(path: &Path, source: Arc<dyn Source>) -> JoinHandle<()> {
    let _ = std::fs::remove_file(path);
    let incoming = UnixListenerStream::new(UnixListener::bind(path).expect("a free path that is short enough"));
    let server = Server::builder().add_service(Lister(source)).serve_with_incoming(incoming);
    tokio::spawn(async move {
        let _ = server.await;
    })
}

#[derive(Clone)]
struct Lister(Arc<dyn Source>);

impl Lister {
    fn list(&self) -> Listed {
        let pod = |holder: Holder| {
            let group = |(resource_name, device)| Group { resource_name, device_ids: vec![device] };
            let devices = holder.devices.into_iter().map(group).collect();
            let container = Container { name: "main".into(), devices };
            Pod { name: holder.name, namespace: holder.namespace, containers: vec![container] }
        };
        Listed { pod_resources: self.0.holders().into_iter().map(pod).collect() }
    }

    fn allocatable(&self) -> Allocatable {
        let group = |(resource_name, device_ids)| Group { resource_name, device_ids };
        Allocatable { devices: self.0.offered().into_iter().map(group).collect() }
    }
}

impl NamedService for Lister {
    const NAME: &'static str = "v1.PodResourcesLister";
}

/// One method.
struct Method<Answer>(fn(&Lister) -> Answer, Lister);

impl<Answer: Send + 'static> UnaryService<Question> for Method<Answer> {
    type Response = Answer;
    type Future = std::future::Ready<Result<Response<Answer>, Status>>;

    fn call(&mut self, _: Request<Question>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0(&self.1))))
    }
}

impl Service<http::Request<Body>> for Lister {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/v1.PodResourcesLister/List" => {
                    Grpc::new(ProstCodec::default()).unary(Method(Self::list, own), request).await
                }
                "/v1.PodResourcesLister/GetAllocatableResources" => {
                    Grpc::new(ProstCodec::default()).unary(Method(Self::allocatable, own), request).await
                }
                other => Status::unimplemented(other.to_owned()).into_http(),
            })
        })
    }
}
