//! The stored form of an entry. Persisted, so it is versioned and must be kept stable.
//!
//! Version 1: `1`, epoch (8 bytes, big endian), then LEB128 varints: partition, from, to - from, time; the number of
//! events and for each: offset - from, time - entry time (zigzag), body length + 1, body (or 0 and nothing, where the
//! store keeps bodies elsewhere); the number of routes and for each: slot delta, event, the number of filters, and
//! their ids as deltas.
//!
//! Version 2, written only where an event belongs to a trace, goes on with the number of traces and for each: the number
//! of its event, 16 bytes of trace id, 8 bytes of span id.

use bytes::{Buf, Bytes};

use super::entry::{Entry, EntryEvent, Route};
use crate::{Epoch, Offset, Partition, Trace};

const VERSION: u8 = 1;
const VERSION_TRACED: u8 = 2;

/// Bytes of a stored trace, at the least.
const TRACE_BYTES_MIN: usize = 25;

/// A stored entry cannot be read: it was damaged, or written by a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the entry has version {0}, this program reads versions {VERSION} and {VERSION_TRACED}")]
    Version(u8),
    #[error("the entry is damaged: {0}")]
    Damaged(&'static str),
}

impl Entry {
    /// The stored form; without bodies where `with_bodies` is false.
    #[must_use]
    pub fn encode(&self, with_bodies: bool) -> Vec<u8> {
        let bodies: usize = if with_bodies { self.events.iter().map(|event| event.body.len() + 2).sum() } else { 0 };
        let mut out = Vec::with_capacity(40 + bodies + self.events.len() * 4 + self.routes.len() * 5);
        out.push(if self.traces.is_empty() { VERSION } else { VERSION_TRACED });
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        put(&mut out, u64::from(self.partition.0));
        put(&mut out, self.from.0);
        put(&mut out, self.to.0 - self.from.0);
        put(&mut out, zigzag(self.time_ms));
        put(&mut out, self.events.len() as u64);
        for event in &self.events {
            put(&mut out, event.offset.0 - self.from.0);
            put(&mut out, zigzag(event.time_ms - self.time_ms));
            if with_bodies {
                put(&mut out, event.body.len() as u64 + 1);
                out.extend_from_slice(&event.body);
            } else {
                put(&mut out, 0);
            }
        }
        put(&mut out, self.routes.len() as u64);
        let mut slot = 0;
        for route in &self.routes {
            put(&mut out, u64::from(route.slot - slot));
            slot = route.slot;
            put(&mut out, u64::from(route.event));
            let filters = self.filters(route);
            put(&mut out, filters.len() as u64);
            let mut last = 0;
            for &id in filters {
                put(&mut out, u64::from(id.wrapping_sub(last)));
                last = id;
            }
        }
        if !self.traces.is_empty() {
            put(&mut out, self.traces.len() as u64);
            for (event, trace) in &self.traces {
                put(&mut out, u64::from(*event));
                out.extend_from_slice(&trace.trace_id);
                out.extend_from_slice(&trace.span_id);
            }
        }
        out
    }

    /// # Errors
    /// [`DecodeError`]; nothing is trusted, so damaged bytes never panic or allocate without bound.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Input(bytes);
        let traced = match input.byte()? {
            VERSION => false,
            VERSION_TRACED => true,
            other => return Err(DecodeError::Version(other)),
        };
        let epoch = Epoch(input.u64_be()?);
        let partition = Partition(input.u32("partition")?);
        let from = input.varint()?;
        let to = from.checked_add(input.varint()?).ok_or(DecodeError::Damaged("offset overflow"))?;
        let time_ms = unzigzag(input.varint()?);
        let mut events = Vec::with_capacity(input.len_of(3)?);
        for _ in 0..events.capacity() {
            let offset = from.checked_add(input.varint()?).filter(|offset| *offset < to);
            let offset = Offset(offset.ok_or(DecodeError::Damaged("an event outside its batch"))?);
            let event_time_ms = time_ms.wrapping_add(unzigzag(input.varint()?));
            let body = match input.varint()? {
                0 => Bytes::new(),
                len => input.take(len - 1)?,
            };
            events.push(EntryEvent { offset, time_ms: event_time_ms, body });
        }
        let len = input.len_of(3)?;
        let mut routes: Vec<Route> = Vec::with_capacity(len);
        let mut filters: Vec<u32> = Vec::with_capacity(len);
        let mut slot = 0_u32;
        for _ in 0..len {
            slot = slot.checked_add(input.u32("slot")?).ok_or(DecodeError::Damaged("slot overflow"))?;
            let event = input.u32("event")?;
            if event as usize >= events.len() {
                return Err(DecodeError::Damaged("a route to no event"));
            }
            let filters_from = filters.len() as u32;
            let mut last = 0_u32;
            for _ in 0..input.len_of(1)? {
                last = last.wrapping_add(input.u32("filter id")?);
                filters.push(last);
            }
            if routes.last().is_some_and(|route| (route.slot, route.event) > (slot, event)) {
                return Err(DecodeError::Damaged("routes out of order"));
            }
            routes.push(Route { slot, event, filters_from, filters_to: filters.len() as u32 });
        }
        let traces = if traced { input.traces(events.len())? } else { Vec::new() };
        if input.0.has_remaining() {
            return Err(DecodeError::Damaged("bytes after the end"));
        }
        Ok(Self { epoch, partition, from: Offset(from), to: Offset(to), time_ms, events, routes, filters, traces })
    }

    /// Puts the bodies in that the store kept elsewhere; `body` gets an offset. Events whose body is gone keep an
    /// empty one.
    pub fn fill_bodies(&mut self, mut body: impl FnMut(Offset) -> Option<Bytes>) {
        for event in &mut self.events {
            if let Some(bytes) = body(event.offset) {
                event.body = bytes;
            }
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A reader that never runs past its end.
pub(crate) struct Input(pub(crate) Bytes);

impl Input {
    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Damaged("it ends too early"))
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, DecodeError> {
        self.0.try_get_u64().map_err(|_| DecodeError::Damaged("it ends too early"))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Damaged("a number too long"))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::Damaged(what))
    }

    /// A count of things of at least `bytes_min` bytes each, so that damage cannot ask for more than is there.
    fn len_of(&mut self, bytes_min: usize) -> Result<usize, DecodeError> {
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if len > self.0.remaining() / bytes_min {
            return Err(DecodeError::Damaged("a count beyond its end"));
        }
        Ok(len)
    }

    fn traces(&mut self, events: usize) -> Result<Vec<(u32, Trace)>, DecodeError> {
        let len = self.len_of(TRACE_BYTES_MIN)?;
        let mut traces: Vec<(u32, Trace)> = Vec::with_capacity(len);
        for _ in 0..len {
            let event = self.u32("event")?;
            let mut trace = Trace { trace_id: [0; 16], span_id: [0; 8] };
            self.take(16)?.copy_to_slice(&mut trace.trace_id);
            self.take(8)?.copy_to_slice(&mut trace.span_id);
            if event as usize >= events || traces.last().is_some_and(|(last, _)| *last >= event) {
                return Err(DecodeError::Damaged("traces out of order"));
            }
            traces.push((event, trace));
        }
        Ok(traces)
    }

    fn take(&mut self, len: u64) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > self.0.remaining() {
            return Err(DecodeError::Damaged("a body beyond its end"));
        }
        Ok(self.0.split_to(len))
    }
}
