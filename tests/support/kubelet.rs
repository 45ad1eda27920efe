//! A kubelet of a test: the pod-resources API `v1` on a real socket, saying what the test wants it to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::pod_resources::{self, Holder, Source};

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
        drop(pod_resources::serve(socket, Arc::new(kubelet.clone())));
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

impl Source for Kubelet {
    fn holders(&self) -> Vec<Holder> {
        let one = |(device, (namespace, name, resource)): (&String, &(String, String, String))| Holder {
            namespace: namespace.clone(),
            name: name.clone(),
            devices: vec![(resource.clone(), device.clone())],
        };
        self.known(|known| known.holds.iter().map(one).collect())
    }

    fn offered(&self) -> BTreeMap<String, Vec<String>> {
        self.known(|known| known.offered.clone())
    }
}
