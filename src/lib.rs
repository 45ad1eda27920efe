//! retile keeps a Kubernetes cluster's MIG partitions fitted to the pods that are waiting.
//!
//! The model is *plan, then execute*: a pure planner emits an immutable, fully specified document; everything that
//! touches the world sits at the edge. Layers, from the bottom (a module may use only what stands above it here):
//!
//! | module | purpose |
//! |---|---|
//! | [`model`] | board geometry, layouts, inventory, demand, policy: the input of planning |
//! | [`plan`] | the plan document, its steps, its independent verification |
//! | `planner` | turns a [`model::PlanningInput`] into a plan, through the crate `retile-solver` |
//! | `savings` | GPUs and money deferred, from one history for simulator and metrics alike |
//! | [`exec`] | the operation protocol: two machines without input or output, and what they ask of the world |
//! | `controller` | the loop: observe, plan, verify, operate |
//! | `sim` | a cluster in virtual time, in which the real loop and the real protocol run |
//! | `nvml` | the NVIDIA driver of this machine: boards, instances, processes (feature `node`) |
//! | `podresources` | the kubelet's pod-resources socket (feature `node`) |
//! | `occupancy` | who holds which instance, from driver, kubelet and API server (feature `node`) |
//! | `host` | a node's side of the agent's port: files, driver, kubelet, device nodes (feature `node`) |
//! | `agent` | the agent as a program: its machine, driven with a real API server and a real node (feature `agent`) |
//! | `telemetry` | logs, metrics and health of a program (feature `telemetry`) |
//! | [`kube`] | reads cluster exports into a [`model::PlanningInput`], and talks to an API server (feature `cluster`) |
//! | `cli` | the verbs of the command line; the only module that prints |

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "planning")]
pub mod controller;
pub mod exec;
#[cfg(feature = "node")]
pub mod host;
pub mod kube;
pub mod model;
#[cfg(feature = "node")]
pub mod nvml;
#[cfg(feature = "node")]
pub mod occupancy;
pub mod plan;
#[cfg(feature = "planning")]
pub mod planner;
#[cfg(feature = "node")]
pub mod podresources;
#[cfg(feature = "planning")]
pub mod savings;
#[cfg(feature = "cli")]
pub mod sim;
#[cfg(feature = "telemetry")]
pub mod telemetry;
