//! Which fields of each kind stay: those that the export reader reads, field for field as `kube::objects` has them.

/// What stays of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// A text, number or truth value.
    Scalar,
    /// Nothing.
    Nothing,
    /// All fields of an object, some of them less than whole.
    Edited(&'static [(&'static str, &'static Keep)]),
    /// These fields of an object.
    Fields(&'static [(&'static str, &'static Keep)]),
    /// All fields of an object, whatever they are called.
    Map(&'static Keep),
    /// All items of an array.
    Items(&'static Keep),
    /// That it is there.
    Presence,
    /// Annotations that somebody here reads.
    Annotations,
    /// Of the managers of fields, the newest moment at which one has written.
    Moments,
}

use Keep::{Annotations, Edited, Fields, Items, Map, Moments, Nothing, Presence, Scalar};

const SCALARS: Keep = Map(&Scalar);

const META: Keep = Fields(&[
    ("annotations", &Annotations),
    ("creationTimestamp", &Scalar),
    ("deletionTimestamp", &Scalar),
    ("generation", &Scalar),
    ("labels", &SCALARS),
    ("managedFields", &Moments),
    ("name", &Scalar),
    ("namespace", &Scalar),
    ("ownerReferences", &Items(&Fields(&[("controller", &Scalar), ("kind", &Scalar), ("name", &Scalar)]))),
    ("resourceVersion", &Scalar),
    ("uid", &Scalar),
]);

/// Conditions are told by their reasons; their messages are prose.
const CONDITIONS: Keep = Items(&Fields(&[
    ("lastHeartbeatTime", &Scalar),
    ("lastProbeTime", &Scalar),
    ("lastTransitionTime", &Scalar),
    ("reason", &Scalar),
    ("status", &Scalar),
    ("type", &Scalar),
]));

const REQUIREMENTS: Keep = Items(&Fields(&[("key", &Scalar), ("operator", &Scalar), ("values", &Items(&Scalar))]));

const LABEL_SELECTOR: Keep = Fields(&[("matchExpressions", &REQUIREMENTS), ("matchLabels", &SCALARS)]);

const NODE: Keep = Fields(&[
    ("apiVersion", &Scalar),
    ("kind", &Scalar),
    ("metadata", &META),
    (
        "spec",
        &Fields(&[
            ("taints", &Items(&Fields(&[("effect", &Scalar), ("key", &Scalar), ("value", &Scalar)]))),
            ("unschedulable", &Scalar),
        ]),
    ),
    ("status", &Fields(&[("allocatable", &SCALARS), ("capacity", &SCALARS), ("conditions", &CONDITIONS)])),
]);

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

const POD_RULES: Keep = Fields(&[(
    REQUIRED,
    &Items(&Fields(&[
        ("labelSelector", &LABEL_SELECTOR),
        ("namespaceSelector", &Presence),
        ("namespaces", &Items(&Scalar)),
    ])),
)]);

const AFFINITY: Keep = Fields(&[
    (
        "nodeAffinity",
        &Fields(&[(
            REQUIRED,
            &Fields(&[(
                "nodeSelectorTerms",
                &Items(&Fields(&[("matchExpressions", &REQUIREMENTS), ("matchFields", &REQUIREMENTS)])),
            )]),
        )]),
    ),
    ("podAffinity", &POD_RULES),
    ("podAntiAffinity", &POD_RULES),
]);

const RESOURCES: Keep = Fields(&[("limits", &SCALARS), ("requests", &SCALARS)]);

/// No name, image, command, argument or environment.
const CONTAINERS: Keep = Items(&Fields(&[
    ("ports", &Items(&Fields(&[("hostPort", &Scalar)]))),
    ("resources", &RESOURCES),
    ("restartPolicy", &Scalar),
]));

/// Which kind of volume, where that ties a pod to a place; never whose secret or what claim.
const VOLUMES: Keep = Items(&Fields(&[
    ("emptyDir", &Fields(&[("medium", &Scalar)])),
    ("ephemeral", &Presence),
    ("hostPath", &Presence),
    ("persistentVolumeClaim", &Presence),
]));

const CONTAINER_STATUSES: Keep = Items(&Fields(&[(
    "state",
    &Fields(&[("running", &Fields(&[("startedAt", &Scalar)])), ("terminated", &Fields(&[("finishedAt", &Scalar)]))]),
)]));

const POD: Keep = Fields(&[
    ("apiVersion", &Scalar),
    ("kind", &Scalar),
    ("metadata", &META),
    (
        "spec",
        &Fields(&[
            ("affinity", &AFFINITY),
            ("containers", &CONTAINERS),
            ("initContainers", &CONTAINERS),
            ("nodeName", &Scalar),
            ("nodeSelector", &SCALARS),
            ("overhead", &SCALARS),
            ("preemptionPolicy", &Scalar),
            ("priority", &Scalar),
            ("priorityClassName", &Scalar),
            ("resourceClaims", &Items(&Presence)),
            ("resources", &RESOURCES),
            ("schedulerName", &Scalar),
            ("schedulingGates", &Items(&Presence)),
            ("schedulingGroup", &Presence),
            ("terminationGracePeriodSeconds", &Scalar),
            (
                "tolerations",
                &Items(&Fields(&[("effect", &Scalar), ("key", &Scalar), ("operator", &Scalar), ("value", &Scalar)])),
            ),
            ("topologySpreadConstraints", &Items(&Fields(&[("whenUnsatisfiable", &Scalar)]))),
            ("volumes", &VOLUMES),
            ("workloadRef", &Presence),
        ]),
    ),
    (
        "status",
        &Fields(&[
            ("conditions", &CONDITIONS),
            ("containerStatuses", &CONTAINER_STATUSES),
            ("extendedResourceClaimStatus", &Presence),
            ("initContainerStatuses", &CONTAINER_STATUSES),
            ("nominatedNodeName", &Scalar),
            ("phase", &Scalar),
            ("startTime", &Scalar),
        ]),
    ),
]);

const BUDGET: Keep = Fields(&[
    ("apiVersion", &Scalar),
    ("kind", &Scalar),
    ("metadata", &META),
    ("spec", &Fields(&[("selector", &LABEL_SELECTOR)])),
    ("status", &Fields(&[("disruptionsAllowed", &Scalar), ("observedGeneration", &Scalar)])),
]);

const PRIORITY_CLASS: Keep = Fields(&[
    ("apiVersion", &Scalar),
    ("globalDefault", &Scalar),
    ("kind", &Scalar),
    ("metadata", &META),
    ("preemptionPolicy", &Scalar),
    ("value", &Scalar),
]);

const SLICE: Keep = Fields(&[
    ("apiVersion", &Scalar),
    ("kind", &Scalar),
    ("metadata", &META),
    ("spec", &Fields(&[("driver", &Scalar), ("nodeName", &Scalar)])),
]);

const DEVICE_CLASS: Keep = Fields(&[
    ("apiVersion", &Scalar),
    ("kind", &Scalar),
    ("metadata", &META),
    ("spec", &Fields(&[("extendedResourceName", &Scalar)])),
]);

const MIG_NODE: Keep = Fields(&[
    ("apiVersion", &Scalar),
    ("kind", &Scalar),
    ("metadata", &META),
    (
        "status",
        &Fields(&[
            ("conditions", &CONDITIONS),
            (
                "gpus",
                &Items(&Fields(&[
                    ("index", &Scalar),
                    (
                        "instances",
                        &Items(&Fields(&[
                            ("occupancy", &Scalar),
                            ("pods", &Items(&Fields(&[("name", &Scalar), ("namespace", &Scalar), ("uid", &Scalar)]))),
                            ("profile", &Scalar),
                            ("size", &Scalar),
                            ("start", &Scalar),
                            ("uuid", &Scalar),
                        ])),
                    ),
                    ("lastChanged", &Scalar),
                    ("migMode", &Scalar),
                    ("model", &Scalar),
                    ("pendingMigMode", &Scalar),
                    ("uuid", &Scalar),
                ])),
            ),
            ("nodeName", &Scalar),
        ]),
    ),
]);

/// A policy is read strictly, so that what nobody knows must stay to be refused. Prices are no part of planning.
const MIG_POLICY: Keep =
    Edited(&[("metadata", &META), ("spec", &Edited(&[("prices", &Nothing)])), ("status", &Nothing)]);

/// What stays of an object of a kind; none of kinds that nobody reads.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<&'static Keep> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    Some(match (group, kind) {
        ("", "Node") => &NODE,
        ("", "Pod") => &POD,
        ("policy" | "", "PodDisruptionBudget") => &BUDGET,
        ("scheduling.k8s.io" | "", "PriorityClass") => &PRIORITY_CLASS,
        ("retile.dev" | "", "MigNode") => &MIG_NODE,
        ("retile.dev" | "", "MigPolicy") => &MIG_POLICY,
        ("resource.k8s.io", "ResourceSlice") => &SLICE,
        ("resource.k8s.io", "DeviceClass") => &DEVICE_CLASS,
        _ => return None,
    })
}
