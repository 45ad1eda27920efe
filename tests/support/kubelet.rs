//! A kubelet of a test: the pod-resources API `v1` on a real socket, saying what the test wants it to say.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status, transport::Server};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    pods: Vec<Pod>,
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
    devices: Vec<Devices>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Devices {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, repeated, tag = "2")]
    ids: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Allocatable {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Devices>,
}

/// What the kubelet knows.
#[derive(Debug, Default)]
struct Known {
    /// Pod (namespace and name) by device, with the resource's name.
    holds: BTreeMap<String, (String, String, String)>,
    /// Devices that the plugin offers, by resource.
    offered: BTreeMap<String, Vec<String>>,
}

/// The kubelet; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Kubelet(Arc<Mutex<Known>>);

impl Kubelet {
    /// Listens on a socket, on the runtime that this is called in.
    pub fn start(socket: &Path) -> Self {
        let kubelet = Self::default();
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).expect("a free path"));
        tokio::spawn(Server::builder().add_service(Served(kubelet.clone())).serve_with_incoming(incoming));
        kubelet
    }

    /// A pod is given a device.
    pub fn give(&self, namespace: &str, pod: &str, resource: &str, device: &str) {
        let pod = (namespace.to_owned(), pod.to_owned(), resource.to_owned());
        self.known(|known| known.holds.insert(device.to_owned(), pod));
    }

    /// A device is free again.
    pub fn release(&self, device: &str) {
        self.known(|known| known.holds.remove(device));
    }

    /// The device plugin has started anew and found these devices, each with its resource.
    pub fn offer(&self, devices: &[(String, String)]) {
        self.known(|known| {
            known.offered.clear();
            for (resource, device) in devices {
                known.offered.entry(resource.clone()).or_default().push(device.clone());
            }
        });
    }

    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.0.lock().expect("no test panics with it held"))
    }
}

type Answered<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

#[derive(Clone)]
struct Lists(Kubelet);

impl UnaryService<Nothing> for Lists {
    type Response = Listed;
    type Future = Answered<Listed>;

    fn call(&mut self, _: Request<Nothing>) -> Self::Future {
        let pods = self.0.known(|known| {
            let one = |(device, (namespace, pod, resource)): (&String, &(String, String, String))| Pod {
                name: pod.clone(),
                namespace: namespace.clone(),
                containers: vec![Container {
                    name: "main".into(),
                    devices: vec![Devices { resource: resource.clone(), ids: vec![device.clone()] }],
                }],
            };
            known.holds.iter().map(one).collect()
        });
        Box::pin(async move { Ok(Response::new(Listed { pods })) })
    }
}

#[derive(Clone)]
struct Allocates(Kubelet);

impl UnaryService<Nothing> for Allocates {
    type Response = Allocatable;
    type Future = Answered<Allocatable>;

    fn call(&mut self, _: Request<Nothing>) -> Self::Future {
        let devices = self.0.known(|known| {
            let one =
                |(resource, ids): (&String, &Vec<String>)| Devices { resource: resource.clone(), ids: ids.clone() };
            known.offered.iter().map(one).collect()
        });
        Box::pin(async move { Ok(Response::new(Allocatable { devices })) })
    }
}

#[derive(Clone)]
struct Served(Kubelet);

impl NamedService for Served {
    const NAME: &'static str = "v1.PodResourcesLister";
}

impl Service<http::Request<Body>> for Served {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let kubelet = self.0.clone();
        Box::pin(async move {
            Ok(if request.uri().path().ends_with("/List") {
                let codec = ProstCodec::<Listed, Nothing>::default();
                tonic::server::Grpc::new(codec).unary::<_, Body>(Lists(kubelet), request).await
            } else {
                let codec = ProstCodec::<Allocatable, Nothing>::default();
                tonic::server::Grpc::new(codec).unary::<_, Body>(Allocates(kubelet), request).await
            })
        })
    }
}
