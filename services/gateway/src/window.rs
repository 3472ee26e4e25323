//! How many jobs a worker may hold beyond its slots: enough that a slot that becomes free finds its next job already
//! there, and no more, so that a job does not stand behind a long one while another worker is idle. Pure.

use turno_proto::habits::ANSWERS_HELD;

/// Learns one worker's times. A weight of 1/8 for what is new, as TCP smooths its round trips (RFC 6298).
#[derive(Clone, Debug, Default)]
pub struct Window {
    round_trip_us: Option<f64>,
    service_us: Option<f64>,
    bytes: Option<f64>,
}

/// What one job has told.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// How long it was away in all.
    pub away_us: u64,
    /// How long of that it was on its node.
    pub on_node_us: u64,
    /// How long it ran.
    pub run_us: u64,
    /// Bytes of its request.
    pub bytes: usize,
}

const WEIGHT: f64 = 0.125;
/// A job of so many round trips is not held in advance.
const LONG: f64 = 50.0;
/// Jobs held in advance by one worker at most: 1 µs jobs are not worth more of the gateway's memory.
const MOST: u32 = 256;
/// Bytes of requests held in advance for one slot, but for one request that is larger: what is on its way fills the wire, and
/// more of it would only make the round trip longer, and with it what is held.
const MOST_BYTES: f64 = 1024.0 * 1024.0;

impl Window {
    /// Takes in one job.
    pub fn observe(&mut self, Told { away_us, on_node_us, run_us, bytes }: Told) {
        smooth(&mut self.round_trip_us, away_us.saturating_sub(on_node_us));
        smooth(&mut self.service_us, run_us);
        smooth(&mut self.bytes, bytes as u64);
    }

    /// Jobs beyond `slots`: those that the slots finish in one round trip, and of brief ones those that they finish while
    /// their answers are held ([`ANSWERS_HELD`]); of large ones no more than 1 MiB, or one, for each slot. None for jobs that take longer than fifty round trips: waiting for the
    /// next one costs them less than a fiftieth, being hoarded might cost them their all.
    pub fn prefetch(&self, slots: u32) -> u32 {
        let (Some(round_trip), Some(service), Some(bytes)) =
            (self.round_trip_us, self.service_us, self.bytes)
        else {
            return 0;
        };
        if service > round_trip * LONG {
            return 0;
        }
        let held = ANSWERS_HELD.as_micros() as f64;
        let held = if service <= held { held } else { 0.0 };
        let finished = f64::from(slots) * (round_trip + held) / service.max(1.0);
        let fit = f64::from(slots) * (MOST_BYTES / bytes.max(1.0)).max(1.0);
        // A float above the range becomes the largest integer, and then MOST.
        (finished.min(fit).ceil() as u32).min(MOST)
    }
}

fn smooth(known: &mut Option<f64>, sample_us: u64) {
    let sample = sample_us as f64;
    *known = Some(known.map_or(sample, |known| known + WEIGHT * (sample - known)));
}

#[cfg(test)]
mod tests {
    use super::{MOST, Told, Window};

    fn learned(round_trip_us: u64, run_us: u64) -> Window {
        let mut window = Window::default();
        for _ in 0..64 {
            window.observe(Told { away_us: round_trip_us + run_us, on_node_us: run_us, run_us, bytes: 0 });
        }
        window
    }

    #[test]
    fn nothing_is_hoarded_before_anything_is_known() {
        assert_eq!(Window::default().prefetch(8), 0);
    }

    #[test]
    fn short_jobs_are_held_ready_and_long_ones_are_not() {
        assert_eq!(learned(200, 10).prefetch(2), MOST);
        assert_eq!(learned(200, 100).prefetch(2), 44);
        assert_eq!(learned(200, 1_000).prefetch(2), 5);
        assert_eq!(learned(200, 2_100).prefetch(2), 1);
        assert_eq!(learned(200, 9_000).prefetch(2), 1);
        assert_eq!(learned(200, 11_000).prefetch(2), 0);
        assert_eq!(learned(200, 100_000).prefetch(2), 0);
        assert_eq!(learned(200, 0).prefetch(8), MOST);
    }

    #[test]
    fn large_requests_are_held_by_their_bytes() {
        let held = |bytes| {
            let mut window = Window::default();
            window.observe(Told { away_us: 110_000, on_node_us: 10_000, run_us: 10_000, bytes });
            window.prefetch(2)
        };
        assert_eq!([1_000, 100_000, 500_000, 5_000_000].map(held), [20, 20, 5, 2]);
    }

    #[test]
    fn it_follows_when_jobs_grow_long() {
        let mut window = learned(200, 10);
        for _ in 0..64 {
            let run_us = 1_000_000;
            window.observe(Told { away_us: run_us + 200, on_node_us: run_us, run_us, bytes: 0 });
        }
        assert_eq!(window.prefetch(2), 0);
    }
}
