//! Asks the kubelet over its Unix socket.
//!
//! Input: the socket's path. Outputs: MIG devices that containers hold, and those that the device plugin offers. Every request has a
//! connection and a time limit of its own, and a greatest size; anything but a well-formed answer of the API `v1` is an error.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::device::{DeviceIdError, MigDevice};
use super::message::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ContainerResources, ListPodResourcesRequest,
    ListPodResourcesResponse,
};

/// Where the kubelet's socket is, unless its root folder was moved.
pub const SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";
/// Time for one request, connection included.
const LIMIT: Duration = Duration::from_secs(10);
/// Largest answer; the kubelet's own clients allow as much.
const LARGEST: usize = 16 << 20;
/// Driver of dynamic resource allocation that gives out GPUs and MIG devices.
const GPU_DRA_DRIVER: &str = "gpu.nvidia.com";

/// A container's hold on a MIG device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holding {
    /// Namespace of the pod. The kubelet does not tell the pod's UID.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// What it holds.
    pub device: MigDevice,
}

/// Why the kubelet's word is not known.
#[derive(Debug, thiserror::Error)]
pub enum PodResourcesError {
    /// The socket is not there or does not accept connections.
    #[error("cannot connect to the kubelet at {}: {detail}; check that its folder is mounted and that this process may use it", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// No answer in time.
    #[error("the kubelet at {} has not answered within {} s", .socket.display(), .limit.as_secs_f32())]
    Timeout {
        /// The socket.
        socket: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// The kubelet does not speak `v1`.
    #[error(
        "the kubelet does not know {method} of the pod-resources API v1; it is older than Kubernetes 1.23 or the feature is off"
    )]
    NotServed {
        /// The method.
        method: &'static str,
    },
    /// The kubelet refuses or its answer makes no sense.
    #[error("{method} of the pod-resources API failed: {code:?}: {detail}")]
    Call {
        /// The method.
        method: &'static str,
        /// Code of gRPC.
        code: Code,
        /// What it says.
        detail: String,
    },
    /// A device id that cannot be understood.
    #[error(transparent)]
    Device(#[from] DeviceIdError),
    /// GPUs of the node are given out by dynamic resource allocation, whose devices have no MIG UUID.
    #[error(
        "the pod {namespace}/{pod} holds the device {device} through dynamic resource allocation ({GPU_DRA_DRIVER}), which retile does not share GPUs with"
    )]
    DynamicResource {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// Name of the device.
        device: String,
    },
}

/// The kubelet's pod-resources API.
#[derive(Debug, Clone)]
pub struct PodResources {
    socket: PathBuf,
    limit: Duration,
}

impl PodResources {
    /// Names the socket; nothing is opened before a request.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), limit: LIMIT }
    }

    /// The same with another time limit per request.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Who holds which MIG device, ordered. Plain init containers are not told; kubelets before 1.34 also tell pods that have ended.
    ///
    /// # Errors
    /// No connection, no answer in time, no API `v1`, or an answer that cannot be understood to the end.
    pub async fn holdings(&self) -> Result<Vec<Holding>, PodResourcesError> {
        let answer: ListPodResourcesResponse = self.call("List", ListPodResourcesRequest {}).await?;
        let mut holdings = BTreeSet::new();
        for pod in answer.pod_resources {
            for ContainerResources { name: _, devices, dynamic_resources } in pod.containers {
                let claimed = dynamic_resources.iter().flat_map(|resource| &resource.claim_resources);
                if let Some(claimed) = claimed.into_iter().find(|claimed| claimed.driver_name == GPU_DRA_DRIVER) {
                    return Err(PodResourcesError::DynamicResource {
                        namespace: pod.namespace,
                        pod: pod.name,
                        device: claimed.device_name.clone(),
                    });
                }
                for group in devices {
                    for id in &group.device_ids {
                        if let Some(device) = MigDevice::parse(&group.resource_name, id)? {
                            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
                            holdings.insert(Holding { namespace, pod: name, device });
                        }
                    }
                }
            }
        }
        Ok(holdings.into_iter().collect())
    }

    /// UUIDs of the MIG devices that the device plugin offers, ordered, each once.
    ///
    /// # Errors
    /// As for [`Self::holdings`].
    pub async fn allocatable(&self) -> Result<Vec<String>, PodResourcesError> {
        let answer: AllocatableResourcesResponse =
            self.call("GetAllocatableResources", AllocatableResourcesRequest {}).await?;
        let mut uuids = BTreeSet::new();
        for group in answer.devices {
            for id in &group.device_ids {
                uuids.extend(MigDevice::parse(&group.resource_name, id)?.map(|device| device.uuid));
            }
        }
        Ok(uuids.into_iter().collect())
    }

    async fn call<Q, A>(&self, method: &'static str, question: Q) -> Result<A, PodResourcesError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let answer = tokio::time::timeout(self.limit, self.exchange(method, question)).await;
        answer.unwrap_or_else(|_| Err(PodResourcesError::Timeout { socket: self.socket.clone(), limit: self.limit }))
    }

    async fn exchange<Q, A>(&self, method: &'static str, question: Q) -> Result<A, PodResourcesError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let failed = |status: Status| {
            if status.code() == Code::Unimplemented {
                return PodResourcesError::NotServed { method };
            }
            let detail = status.message().chars().take(300).collect();
            PodResourcesError::Call { method, code: status.code(), detail }
        };
        let mut client = Grpc::new(self.connect().await?).max_decoding_message_size(LARGEST);
        client.ready().await.map_err(|error| failed(Status::unavailable(innermost(&error))))?;
        let path = PathAndQuery::try_from(format!("/v1.PodResourcesLister/{method}"));
        let path = path.expect("a method's name is a path");
        let answer = client.unary(Request::new(question), path, ProstCodec::<Q, A>::default()).await;
        answer.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn connect(&self) -> Result<Channel, PodResourcesError> {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The name is never resolved: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://localhost");
        endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| PodResourcesError::Connect { socket: self.socket.clone(), detail: innermost(&error) })
    }
}

/// The cause at the bottom, which says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
