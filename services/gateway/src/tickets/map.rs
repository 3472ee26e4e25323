//! A map as a ticket: its inputs and results are logs in the store beside the ticket. An attempt is the same map as a live
//! one (`crate::map`), fed from the store with what has no result yet.
//!
//! `submit` takes the items in, `inputs` packs them into parts and reads them again; `attempt` runs the map, `results`
//! gathers what comes of it; `recorded` knows which items have their results; `read` is a client's view of them. Nothing
//! here holds more than a few parts.

mod attempt;
mod inputs;
mod read;
mod recorded;
mod results;
mod submit;
