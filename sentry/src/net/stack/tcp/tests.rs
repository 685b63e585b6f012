//! Two machines with a network between them that loses, delays and reorders, in a time of their own.

use super::segment::Segment;
use super::*;
use crate::net::stack::packet::{HEADROOM, Packet};
use std::collections::BTreeMap;

const MTU: usize = 1500;
const ROOM: Room = (64 << 10, 4 << 20);

/// What the network does with packets, in parts of a thousand.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    delay: Duration,
    loss: u64,
    twice: u64,
    reorder: u64,
}

struct World {
    now: Instant,
    ends: [Machine; 2],
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
    seed: u64,
    weather: Weather,
    /// Packets of a thousand that are marked, if they can be, and how many were.
    marks: (u64, u64),
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, n).into(), u16::from(n))
}

fn machine(n: u8, now: Instant) -> Machine {
    Machine::new(address(n).ip(), MTU, (ROOM, ROOM), now)
}

impl World {
    fn new(seed: u64, weather: Weather) -> World {
        let now = *START + Duration::from_secs(1);
        let ends = [machine(1, now), machine(2, now)];
        World { now, ends, wire: BTreeMap::new(), count: 0, seed: seed | 1, weather, marks: (0, 0) }
    }

    fn connected(seed: u64, weather: Weather) -> World {
        let mut world = World::new(seed, weather);
        world.ends[1].listen(address(2));
        let now = world.now;
        world.ends[0].connect(address(1), address(2), now);
        world
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 8
    }

    fn chance(&mut self, parts: u64) -> bool {
        self.random() % 1000 < parts
    }

    fn put(&mut self, to: usize, mut packet: Vec<u8>) {
        if packet[1] & 3 == 2 && self.chance(self.marks.0) {
            self.marks.1 += 1;
            packet[1] |= 3;
            add_up(&mut packet);
        }
        let Weather { delay, loss, twice, reorder } = self.weather;
        if self.chance(loss) {
            return;
        }
        let copies = if self.chance(twice) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if self.chance(reorder) { delay / 4 } else { Duration::ZERO };
            self.count += 1;
            self.wire.insert((self.now + delay + late, self.count), (to, packet.clone()));
        }
    }

    /// Lets both ends say all they have to say now.
    fn settle(&mut self) {
        for from in 0..2 {
            while self.ends[from].output(self.now) {
                while let Some(sent) = self.ends[from].take() {
                    for packet in pieces(&sent.bytes(), sent.cut) {
                        self.put(1 - from, packet);
                    }
                }
            }
        }
    }

    /// Goes on to the next event; whether there is one.
    fn step(&mut self) -> bool {
        self.settle();
        let timers = self.ends.iter().filter_map(|end| end.due(self.now)).min();
        let packet = self.wire.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = timers.into_iter().chain(packet).min() else { return false };
        self.now = self.now.max(next);
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, packet) = entry.remove();
            let packet = Packet::parse(&packet).unwrap();
            if let Some(segment) = Segment::parse(&packet) {
                self.ends[to].input(&segment, self.now);
            }
        }
        self.settle();
        true
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    /// Sends `total` bytes each way; how long it took.
    fn exchange(&mut self, total: usize) -> Duration {
        let start = self.now;
        let (mut given, mut got) = ([0usize; 2], [0usize; 2]);
        let mut buf = vec![0; 64 << 10];
        for round in 0.. {
            assert!(round < 2_000_000, "it hangs: {:?} {given:?} {got:?}", self.ends);
            for end in 0..2 {
                let now = self.now;
                let room = self.ends[end].capacity().saturating_sub(self.ends[end].unsent());
                if room > 0 && given[end] < total {
                    let data: Vec<u8> = (given[end]..total.min(given[end] + room.min(30_000))).map(pattern).collect();
                    given[end] += self.ends[end].send(&data, false, now);
                }
                if given[end] == total {
                    self.ends[end].close();
                }
                let count = self.ends[end].peek(0, &mut buf);
                for (n, byte) in buf[..count].iter().enumerate() {
                    assert_eq!(*byte, pattern(got[end] + n));
                }
                self.ends[end].consume(count, now);
                got[end] += count;
            }
            if !self.step() {
                break;
            }
            if got == [total; 2] && self.ends.iter().all(|end| matches!(end.state(), State::Closed | State::TimeWait)) {
                break;
            }
        }
        assert_eq!(got, [total; 2], "{:?}", self.ends);
        self.now - start
    }
}

fn pattern(n: usize) -> u8 {
    (n.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// Fills the checksum of an IP header in.
fn add_up(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = !crate::net::stack::packet::fold(crate::net::stack::packet::sum(&packet[..20], 0));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// What the host makes of a packet that is to be cut.
fn pieces(frame: &[u8], cut: Option<u16>) -> Vec<Vec<u8>> {
    let bytes = &frame[HEADROOM..];
    let head = 20 + usize::from(bytes[32] >> 4) * 4;
    let size = cut.map_or(usize::MAX, usize::from);
    let data = &bytes[head..];
    assert!(cut.is_some() || bytes.len() <= MTU, "{} bytes", bytes.len());
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for (n, part) in data.chunks(size.min(data.len().max(1))).enumerate() {
        let mut piece = bytes[..head].to_vec();
        let number =
            u32::from_be_bytes(piece[24..28].try_into().unwrap()).wrapping_add((n * size.min(data.len())) as u32);
        piece[24..28].copy_from_slice(&number.to_be_bytes());
        if (n + 1) * size.min(data.len()) < data.len() {
            piece[33] &= !(segment::FIN | segment::PSH);
        }
        piece.extend_from_slice(part);
        let total = (piece.len() as u16).to_be_bytes();
        piece[2..4].copy_from_slice(&total);
        add_up(&mut piece);
        parts.push(piece);
    }
    if parts.is_empty() {
        parts.push(bytes.to_vec());
    }
    parts
}

/// What two machines make of marks that ask and grant as these settings say: whether they are on, and how large the
/// window is in the end.
fn marked(settings: [i64; 2], marks: u64) -> ((bool, bool), u32, u64) {
    let weather = Weather { delay: 10 * MILLISECOND, ..Weather::default() };
    let mut world = World::new(77, weather);
    world.marks.0 = marks;
    for (end, setting) in world.ends.iter_mut().zip(settings) {
        end.tune(Tuning { ecn: Consent::of(setting), ..Tuning::default() });
    }
    world.ends[1].listen(address(2));
    let now = world.now;
    world.ends[0].connect(address(1), address(2), now);
    world.exchange(4 << 20);
    let figures = world.ends[0].figures();
    assert_eq!(figures.repeated, (0, 0), "nothing was lost");
    (figures.marks, figures.window.1, world.marks.1)
}

#[test]
fn marks_slow_down_who_understands_them() {
    for settings in [[0, 1], [0, 2], [2, 2], [2, 1], [1, 0]] {
        assert_eq!(marked(settings, 1000), ((false, false), i32::MAX as u32, 0), "{settings:?}");
    }
    assert_eq!(marked([1, 2], 0), ((true, true), i32::MAX as u32, 0));
    let ((is_on, is_seen), threshold, count) = marked([1, 2], 20);
    assert!(is_on && is_seen && threshold < 1000 && count > 10, "{threshold} {count}");
    // If all are marked the window stays small, but never closes.
    assert!(marked([1, 1], 1000).1 <= 4);
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn bytes_arrive_in_fair_weather() {
    let mut world = World::connected(1, Weather { delay: MILLISECOND, ..Weather::default() });
    let time = world.exchange(8 << 20);
    let figures = world.ends[0].figures();
    assert!(time < Duration::from_millis(500), "{time:?} {figures:?}");
    assert_eq!((figures.repeated, figures.bytes), ((0, 0), (8 << 20, 8 << 20)));
    assert!(figures.options == (true, true) && figures.trip.0 >= 2 * MILLISECOND);
}

#[test]
fn bytes_arrive_in_all_weathers() {
    for seed in 1..10u64 {
        for (loss, twice, reorder) in [(10, 0, 0), (50, 0, 0), (0, 0, 250), (0, 100, 0), (20, 20, 100), (200, 50, 100)]
        {
            let delay = MILLISECOND * (1 + (seed as u32 * 7) % 40);
            let mut world = World::connected(seed * 7919, Weather { delay, loss, twice, reorder });
            world.exchange(300_000);
        }
    }
}

#[test]
fn losses_cost_little_time() {
    for (loss, reorder, least) in [(10, 0, 2.0), (50, 0, 0.6), (0, 100, 8.0)] {
        let mut world = World::connected(99, Weather { delay: 25 * MILLISECOND, loss, twice: 0, reorder });
        let time = world.exchange(20 << 20);
        let rate = (20 << 20) as f64 * 8.0 / 1e6 / time.as_secs_f64();
        eprintln!("loss {loss}/1000 reorder {reorder}/1000: {rate:.1} Mbit/s, {:?}", world.ends[0].figures());
        assert!(rate > least, "{rate}");
    }
}

#[test]
fn a_closed_window_opens_again() {
    let mut world = World::connected(5, Weather { delay: MILLISECOND, ..Weather::default() });
    world.steps(20);
    let data = vec![7; 1 << 20];
    let now = world.now;
    let given = world.ends[0].send(&data, false, now);
    let until = now + Duration::from_secs(60);
    while world.now < until && world.step() {}
    assert!(world.ends[1].received() + MTU > world.ends[1].rx.capacity());
    assert_eq!(world.ends[0].state(), State::Established);
    let mut sum = 0;
    while sum < given {
        let count = world.ends[1].received();
        let now = world.now;
        world.ends[1].consume(count, now);
        sum += count;
        assert!(world.step());
    }
    assert_eq!(sum, given);
}

#[test]
fn a_narrow_way_is_found() {
    let mut world = World::connected(4, Weather { delay: MILLISECOND, ..Weather::default() });
    world.steps(6);
    world.weather.loss = 1000;
    let now = world.now;
    assert_eq!(world.ends[0].send(&[7; 30_000], false, now), 30_000);
    world.settle();
    world.weather.loss = 0;
    let sequence = world.ends[0].una as u32;
    world.ends[0].narrow(sequence.wrapping_sub(9), 600);
    assert_eq!(world.ends[0].mss(), 1448);
    world.ends[0].narrow(sequence, 600);
    assert_eq!(world.ends[0].mss(), 548);
    world.steps(60);
    assert_eq!(world.ends[1].received(), 30_000);
}

#[test]
fn both_may_begin_at_once() {
    let mut world = World::new(3, Weather { delay: MILLISECOND, ..Weather::default() });
    let now = world.now;
    world.ends[0].connect(address(1), address(2), now);
    world.ends[1].connect(address(2), address(1), now);
    world.exchange(100_000);
}

#[test]
fn a_dead_side_is_noticed() {
    let mut world = World::connected(3, Weather { delay: MILLISECOND, ..Weather::default() });
    world.steps(6);
    let keep_alive = Some((Duration::from_secs(10), Duration::from_secs(2), 3));
    world.ends[0].tune(Tuning { keep_alive, ..Tuning::default() });
    let start = world.now;
    while world.now < start + Duration::from_secs(100) {
        world.step();
    }
    assert_eq!(world.ends[0].state(), State::Established);
    world.weather.loss = 1000;
    let start = world.now;
    while world.ends[0].state() != State::Closed {
        assert!(world.step());
    }
    let time = world.now - start;
    assert!(time >= Duration::from_secs(6) && time < Duration::from_secs(20), "{time:?}");
}

#[test]
fn nobody_answers() {
    let mut world = World::new(3, Weather { loss: 1000, ..Weather::default() });
    let now = world.now;
    world.ends[0].connect(address(1), address(2), now);
    while world.step() {
        assert!(world.now - now < Duration::from_secs(200));
    }
    assert_eq!((world.ends[0].state(), world.now - now), (State::Closed, Duration::from_secs(127)));
}

#[test]
fn small_segments_wait_for_each_other() {
    let mut world = World::connected(3, Weather { delay: MILLISECOND, ..Weather::default() });
    world.steps(6);
    let now = world.now;
    let before = world.ends[0].figures().segments.0;
    for _ in 0..10 {
        world.ends[0].send(b"x", false, now);
        world.settle();
    }
    assert_eq!(world.ends[0].figures().segments.0 - before, 1);
    world.ends[0].tune(Tuning { nodelay: true, ..Tuning::default() });
    world.settle();
    assert_eq!(world.ends[0].figures().segments.0 - before, 2);
    world.ends[0].tune(Tuning { cork: true, nodelay: true, ..Tuning::default() });
    world.ends[0].send(b"x", false, now);
    world.settle();
    assert_eq!(world.ends[0].figures().segments.0 - before, 2);
    let until = now + Duration::from_millis(250);
    while world.now < until && world.step() {}
    assert!(world.ends[1].received() == 11 && world.now - now < Duration::from_secs(1));
}

/// Changes some bytes of a packet's TCP part.
fn garbled(world: &mut World, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for _ in 0..1 + world.random() % 3 {
        let at = 24 + world.random() as usize % (packet.len() - 24).min(40);
        let near = [1, 0xff, 0x80, 0x10, world.random() as u8][world.random() as usize % 5];
        packet[at] = packet[at].wrapping_add(near);
    }
    packet
}

#[test]
fn garbled_segments_are_survived() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = u64::from(random());
    while Instant::now() < end {
        seed += 1;
        let weather = Weather { delay: MILLISECOND * (seed % 20) as u32, loss: 20, twice: 20, reorder: 50 };
        let mut world = World::connected(seed * 7919, weather);
        let mut buf = vec![0; 8192];
        for round in 0..500 {
            world.step();
            for end in 0..2 {
                let now = world.now;
                world.ends[end].send(&buf[..round * 7 % 3000], round % 5 == 0, now);
                let count = world.ends[end].peek(0, &mut buf);
                world.ends[end].consume(count * (round % 3) / 2, now);
                assert!(world.ends[end].received() <= ROOM.1, "seed {seed}");
            }
            let some = world.wire.values().next().cloned().filter(|(_, packet)| packet.len() > 44);
            if let Some((to, packet)) = some.filter(|_| world.random().is_multiple_of(3)) {
                let garbled = garbled(&mut world, &packet);
                world.count += 1;
                let key = (world.now + MILLISECOND, world.count);
                world.wire.insert(key, (to, garbled));
            }
            if round == 400 {
                world.ends[seed as usize % 2].close();
            }
        }
    }
}
