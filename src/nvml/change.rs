//! Creating and destroying instances, one call that changes something per request.
//!
//! Inputs: a session begun for this request alone, a place on a GPU by its UUID, and for destruction an [`IdleProof`]. Output: done, or why
//! not; what is true afterwards is what the next enumeration shows. Invariants: nothing is destroyed without a proof, and right before it is
//! destroyed it is looked up again, and must still be what the proof names; nothing is created but at the place that was asked for; MIG mode
//! is never written.

use crate::exec::IdleProof;
use crate::plan::Place;

use super::board::{self, Live, Tables, compute_uuid, computes_of, show};
use super::error::DriverError;
use super::raw::{self, Span};
use super::session::Session;
use super::table::Table;

/// Destroys the compute instance of a proof.
pub(super) fn destroy_compute_instance(
    session: &Session,
    tables: &mut Tables,
    proof: &IdleProof,
) -> Result<(), DriverError> {
    let Some(expected) = proof.compute() else {
        return Err(not_the_proven(proof, "a compute instance", "none"));
    };
    let live = instance(session, tables, proof.gpu(), proof.place())?;
    let mut computes = computes_of(session, &live)?;
    let Some(compute) = computes.pop() else {
        return Err(no_such_instance(proof.gpu(), proof.place()));
    };
    if !computes.is_empty() {
        return Err(not_the_proven(proof, "several compute instances", expected));
    }
    if !compute.fills {
        return Err(not_the_proven(proof, "a compute instance that takes only a part", expected));
    }
    let found = compute_uuid(session, &compute.info)?;
    if found != expected {
        return Err(not_the_proven(proof, &found, expected));
    }
    session.ask("nvmlComputeInstanceDestroy", || compute.handle.destroy())
}

/// Destroys the GPU instance of a proof, which has no compute instance.
pub(super) fn destroy_gpu_instance(
    session: &Session,
    tables: &mut Tables,
    proof: &IdleProof,
) -> Result<(), DriverError> {
    if let Some(uuid) = proof.compute() {
        return Err(not_the_proven(proof, uuid, "a GPU instance without compute instance"));
    }
    let live = instance(session, tables, proof.gpu(), proof.place())?;
    if !computes_of(session, &live)?.is_empty() {
        return Err(not_the_proven(proof, "a compute instance", "none"));
    }
    session.ask("nvmlGpuInstanceDestroy", || live.handle.destroy())
}

/// Creates a GPU instance at an exact place.
pub(super) fn create_gpu_instance(
    session: &Session,
    tables: &mut Tables,
    gpu: &str,
    place: &Place,
) -> Result<(), DriverError> {
    let (device, table) = board::find(session, tables, gpu)?;
    let profile = profile_of(&table, gpu, place)?;
    let span = Span { start: place.start.into(), size: place.size.into() };
    let created =
        session.ask("nvmlDeviceCreateGpuInstanceWithPlacement", || raw::create_gpu_instance(&device, profile, span))?;
    let info = session.ask("nvmlGpuInstanceGetInfo", || created.info())?;
    if info.span != span || info.profile != profile {
        let Span { start, size } = info.span;
        let asked = show(place);
        return Err(DriverError::Nonsense(format!(
            "asked for {asked}, it made profile id {} at {start}:{size}",
            info.profile
        )));
    }
    Ok(())
}

/// Creates the compute instance that fills a GPU instance; returns its MIG device's UUID.
pub(super) fn create_compute_instance(
    session: &Session,
    tables: &mut Tables,
    gpu: &str,
    place: &Place,
) -> Result<String, DriverError> {
    let live = instance(session, tables, gpu, place)?;
    // Several profiles may have all slices; on some boards only the one with the most multiprocessors gets all of the GPU instance's.
    let profiles = board::compute_profiles(session, &live)?;
    let filling = profiles.iter().filter(|profile| profile.slices == live.slices);
    let best = filling.rev().max_by_key(|profile| profile.multiprocessors).ok_or_else(|| {
        DriverError::Nonsense(format!("no compute instance profile fills the GPU instance {}", show(place)))
    })?;
    let created =
        session.ask("nvmlGpuInstanceCreateComputeInstance", || live.handle.create_compute_instance(best.id))?;
    let info = session.ask("nvmlComputeInstanceGetInfo_v2", || created.info())?;
    compute_uuid(session, &info)
}

/// The live GPU instance at a place of a GPU.
fn instance<'s>(session: &'s Session, tables: &mut Tables, gpu: &str, place: &Place) -> Result<Live<'s>, DriverError> {
    let (device, table) = board::find(session, tables, gpu)?;
    let profile = profile_of(&table, gpu, place)?;
    let there = board::live(session, &device, &table)?.into_iter().find(|live| {
        let Place { start, size, profile: _ } = live.place;
        live.info.profile == profile && start == place.start && size == place.size
    });
    there.ok_or_else(|| no_such_instance(gpu, place))
}

/// The driver's id of a place's profile, if the board's table has the place.
fn profile_of(table: &Table, gpu: &str, place: &Place) -> Result<u32, DriverError> {
    let geometry = &table.geometry;
    let id = geometry.find(&place.profile);
    let legal = id.and_then(|id| geometry.place(id, place.start).ok()).filter(|legal| legal.size() == place.size);
    let found = id.filter(|_| legal.is_some()).and_then(|id| table.driver.get(id.index()));
    found.map(|driver| driver.id).ok_or_else(|| DriverError::NoSuchPlace { gpu: gpu.to_owned(), place: show(place) })
}

fn no_such_instance(gpu: &str, place: &Place) -> DriverError {
    DriverError::NoSuchInstance { gpu: gpu.to_owned(), place: show(place) }
}

fn not_the_proven(proof: &IdleProof, found: &str, expected: &str) -> DriverError {
    DriverError::NotTheProven {
        gpu: proof.gpu().to_owned(),
        place: show(proof.place()),
        found: found.to_owned(),
        expected: expected.to_owned(),
    }
}
