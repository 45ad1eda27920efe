//! Field values: the two that say how a board handles MIG.

use std::ffi::c_int;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlFieldValue_t, nvmlReturn_t, nvmlValue_t,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
};

use super::{ask_gpu, get, put, reply};
use crate::Code;

const IS_RESETLESS_MIG_SUPPORTED: u32 = 184;
const IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE: u32 = 199;

/// Fills in the fields that are asked for; those that the fake does not know answer `NOT_SUPPORTED` one by one.
///
/// # Safety
/// `values` is null or valid for reading and writing `count` values whose ids are set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    let known = ask_gpu("nvmlDeviceGetFieldValues", device, |node, _, board| {
        Ok((board.table().architecture.resetless(), node.config.query_with_mig_off))
    });
    reply(known.and_then(|(resetless, queries)| {
        let count = usize::try_from(count).ok().filter(|_| !values.is_null()).ok_or(Code::InvalidArgument)?;
        for at in 0..count {
            // SAFETY: within the `count` values of the promise.
            let value = unsafe { values.add(at) };
            // SAFETY: the promise of this function.
            let mut asked = unsafe { get(value) }?;
            let answer = match asked.fieldId {
                IS_RESETLESS_MIG_SUPPORTED => Ok(resetless),
                IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE => Ok(queries),
                _ => Err(Code::NotSupported),
            };
            asked.nvmlReturn = reply(answer.map(drop));
            asked.valueType = UNSIGNED_INT;
            asked.value = nvmlValue_t { ullVal: answer.unwrap_or(false).into() };
            // SAFETY: the promise of this function.
            unsafe { put(value, asked) }?;
        }
        Ok(())
    }))
}
