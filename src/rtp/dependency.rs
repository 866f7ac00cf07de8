//! The dependency descriptor (appendix A of the AV1 RTP specification): which frames a frame builds on and which decode targets
//! it belongs to. Owns the reading of it. The structure comes with keyframes and every frame refers to it, so the router keeps
//! one per layer and completes each packet's [`FrameInfo`] with it, once, where the packet enters.

use super::packet::FrameInfo;
use super::scalable::{Cut, Cuts, Entry};

/// Decode targets that a descriptor can have: five bits.
const MAX_TARGETS: usize = 32;
/// Template ids are six bits.
const MAX_TEMPLATES: usize = 64;
/// References further back than [`Entry::Targets`] can say make a frame one that nothing begins with.
const FURTHEST: u32 = 64;

/// Decode target indications, two bits each.
const NOT_PRESENT: u8 = 0;
const SWITCH: u8 = 2;

/// What the templates of a stream say, until its next keyframe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    first_id: u8,
    templates: Vec<Template>,
    targets: usize,
    /// For each cut, the decode target that is it, or the nearest below.
    target_of: [u8; Cut::COUNT],
    /// Sizes of the spatial layers, smallest first, if told: (width, height).
    pub sizes: Vec<(u32, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: Vec<u8>,
    /// Bit n: builds on the frame n + 1 before. `None`: on one that is further back.
    references: Option<u64>,
}

impl Structure {
    /// Reads the structure that a keyframe's first descriptor carries; `None` if it has none, or is malformed.
    pub fn read(descriptor: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(descriptor.get(3..)?);
        let present = bits.read(1)? == 1;
        bits.read(4)?;
        present.then(|| Self::body(&mut bits))?
    }

    fn body(bits: &mut Bits<'_>) -> Option<Self> {
        let first_id = bits.read(6)? as u8;
        let targets = bits.read(5)? as usize + 1;
        let mut templates = vec![Template::default()];
        loop {
            let (spatial, temporal) = templates.last().map(|last| (last.spatial, last.temporal))?;
            let (spatial, temporal) = match bits.read(2)? {
                0 => (spatial, temporal),
                1 => (spatial, temporal + 1),
                2 => (spatial + 1, 0),
                _ => break,
            };
            if templates.len() == MAX_TEMPLATES {
                return None;
            }
            templates.push(Template { spatial, temporal, ..Template::default() });
        }
        for template in &mut templates {
            template.indications = (0..targets).map(|_| Some(bits.read(2)? as u8)).collect::<Option<_>>()?;
        }
        for template in &mut templates {
            let mut references = Some(0);
            while bits.read(1)? == 1 {
                let back = bits.read(4)?;
                references = references.map(|mask| mask | 1 << back);
            }
            template.references = references;
        }
        let chains = bits.non_symmetric(targets as u32 + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                bits.non_symmetric(chains)?;
            }
            bits.skip(templates.len() * chains as usize * 4)?;
        }
        let mut sizes = Vec::new();
        if bits.read(1)? == 1 {
            let layers = templates.iter().map(|template| template.spatial).max()?;
            for _ in 0..=layers {
                sizes.push((bits.read(16)? + 1, bits.read(16)? + 1));
            }
        }
        Some(Self { first_id, target_of: targets_of_cuts(&templates, targets), templates, targets, sizes })
    }

    /// Completes what a packet's descriptor says of its frame. Leaves a frame alone that it can't be read for: of an older
    /// structure, or malformed. Such a one is never dropped.
    pub fn describe(&self, descriptor: &[u8], frame: &mut FrameInfo) {
        if let Some(complete) = self.complete(descriptor, *frame) {
            *frame = complete;
        }
    }

    fn complete(&self, descriptor: &[u8], frame: FrameInfo) -> Option<FrameInfo> {
        let id = descriptor.first()? & 0x3F;
        let template = self.templates.get(usize::from(id.wrapping_sub(self.first_id) & 0x3F))?;
        let mut own = [NOT_PRESENT; MAX_TARGETS];
        let (mut indications, mut references) = (template.indications.as_slice(), template.references);
        if let Some(extended) = descriptor.get(3..).filter(|extended| !extended.is_empty()) {
            let mut bits = Bits::new(extended);
            let [structure, active, custom_indications, custom_references, _chains] = bits.flags()?;
            if structure {
                Self::body(&mut bits)?;
            }
            if active {
                bits.skip(self.targets)?;
            }
            if custom_indications {
                for indication in own.get_mut(..self.targets)? {
                    *indication = bits.read(2)? as u8;
                }
                indications = own.get(..self.targets)?;
            }
            if custom_references {
                references = Some(0);
                loop {
                    let width = bits.read(2)?;
                    if width == 0 {
                        break;
                    }
                    let back = bits.read(4 * width)?;
                    references = references.filter(|_| back < FURTHEST).map(|mask| mask | 1 << back);
                }
            }
        }
        let (mut cuts, mut begin) = (Cuts::NONE, Cuts::NONE);
        for cut in Cut::each() {
            let target = self.target_of.get(cut.index()).copied()?;
            let indication = indications.get(usize::from(target)).copied()?;
            if indication != NOT_PRESENT {
                cuts = cuts.with(cut);
            }
            if indication == SWITCH {
                begin = begin.with(cut);
            }
        }
        let entry = match references {
            _ if frame.starts_keyframe => Entry::Anew,
            Some(references) => Entry::Targets { begin, references },
            None => Entry::Targets { begin: Cuts::NONE, references: 0 },
        };
        // One that no target needs is nobody's to drop by these rules.
        let cuts = if cuts == Cuts::NONE { Cuts::ALL } else { cuts };
        Some(FrameInfo { spatial: template.spatial, temporal: template.temporal, cuts, entry, ..frame })
    }

    /// The highest spatial and temporal layer.
    pub fn largest(&self) -> Cut {
        let most = |of: fn(&Template) -> u8| self.templates.iter().map(of).max().unwrap_or(0).min(Cut::LAYERS - 1);
        Cut { spatial: most(|template| template.spatial), temporal: most(|template| template.temporal) }
    }
}

/// A decode target is up to the highest layers of the frames in it (`decode_target_layers()`).
fn targets_of_cuts(templates: &[Template], targets: usize) -> [u8; Cut::COUNT] {
    let layers_of = |target: usize| {
        let mut layers = Cut::BASE;
        for template in templates {
            if template.indications.get(target).is_some_and(|&indication| indication != NOT_PRESENT) {
                layers.spatial = layers.spatial.max(template.spatial);
                layers.temporal = layers.temporal.max(template.temporal);
            }
        }
        layers
    };
    let layers: Vec<Cut> = (0..targets).map(layers_of).collect();
    let mut found = [0; Cut::COUNT];
    for (cut, place) in Cut::each().zip(&mut found) {
        let within = |(_, layers): &(usize, &Cut)| layers.spatial <= cut.spatial && layers.temporal <= cut.temporal;
        let smallest = || layers.iter().enumerate().min_by_key(|(_, layers)| **layers);
        let best = layers.iter().enumerate().filter(within).max_by_key(|(_, layers)| **layers).or_else(smallest);
        *place = best.map_or(0, |(target, _)| target as u8);
    }
    found
}

/// Reads bits, most significant first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32.
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let mut flags = [false; N];
        for flag in &mut flags {
            *flag = self.read(1)? == 1;
        }
        Some(flags)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// `ns(n)`: a number below `n` in as few bits as may be.
    fn non_symmetric(&mut self, n: u32) -> Option<u32> {
        let width = u32::BITS - n.leading_zeros();
        let short = (1 << width) - n;
        let value = self.read(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.read(1)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::Numbers;

    /// Writes bits, most significant first.
    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn put(&mut self, count: u32, value: u32) -> &mut Self {
            self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            self.0.chunks(8).map(|byte| (0..8).fold(0, |all, bit| all << 1 | u8::from(byte.get(bit) == Some(&true)))).collect()
        }
    }

    /// The keyframe's descriptor of L1T3 as libwebrtc builds it: templates T0 (key), T0, T1, T2, T2.
    fn l1t3() -> Vec<u8> {
        let mut bits = Writer::default();
        bits.put(1, 1).put(1, 1).put(6, 5).put(16, 100);
        bits.put(1, 1).put(4, 0);
        bits.put(6, 5).put(5, 2);
        for next in [0, 1, 1, 0, 3] {
            bits.put(2, next);
        }
        for indications in [[2, 2, 2], [2, 2, 2], [0, 1, 2], [0, 0, 1], [0, 0, 1]] {
            for indication in indications {
                bits.put(2, indication);
            }
        }
        for references in [&[][..], &[4], &[2], &[1], &[1]] {
            for back in references {
                bits.put(1, 1).put(4, back - 1);
            }
            bits.put(1, 0);
        }
        // One chain of four possible numbers protects every target: ns(4) is two bits, ns(1) none.
        bits.put(2, 1);
        for back in [0, 4, 2, 1, 3] {
            bits.put(4, back);
        }
        bits.put(1, 1).put(16, 639).put(16, 359);
        bits.bytes()
    }

    fn frame(descriptor: &[u8], structure: &Structure, starts_keyframe: bool) -> FrameInfo {
        let mut frame = FrameInfo { starts_keyframe, numbers: Numbers::DependencyFrame { number: 0 }, ..FrameInfo::default() };
        structure.describe(descriptor, &mut frame);
        frame
    }

    #[test]
    fn templates_say_layers_references_and_switches() {
        let structure = Structure::read(&l1t3()).expect("it is one");
        assert_eq!((structure.largest(), structure.sizes.clone()), (Cut { spatial: 0, temporal: 2 }, vec![(640, 360)]));
        let key = frame(&l1t3(), &structure, true);
        assert_eq!((key.entry, key.cuts), (Entry::Anew, Cuts::ALL));
        let base = frame(&[0xC0 | 6, 0, 104], &structure, false);
        assert_eq!((base.temporal, base.cuts), (0, Cuts::ALL));
        assert_eq!(base.entry, Entry::Targets { begin: Cuts::ALL, references: 0b1000 });
        let middle = frame(&[0xC0 | 7, 0, 106], &structure, false);
        assert_eq!((middle.temporal, middle.cuts), (1, Cuts::from(0, 1)));
        assert_eq!(middle.entry, Entry::Targets { begin: Cuts::from(0, 2), references: 0b10 });
        let top = frame(&[0xC0 | 8, 0, 107], &structure, false);
        assert_eq!((top.temporal, top.cuts), (2, Cuts::from(0, 2)));
        assert_eq!(frame(&[0xC0 | 20, 0, 107], &structure, false).cuts, Cuts::ALL, "of another structure");
    }

    #[test]
    fn a_frame_may_say_otherwise_than_its_template() {
        let structure = Structure::read(&l1t3()).expect("it is one");
        let mut bits = Writer::default();
        bits.put(2, 3).put(6, 7).put(16, 9);
        // Active targets, its own indications and references.
        bits.put(5, 0b01110).put(3, 0b011);
        bits.put(2, 0).put(2, 2).put(2, 1);
        bits.put(2, 1).put(4, 0).put(2, 2).put(8, 20).put(2, 0);
        let own = frame(&bits.bytes(), &structure, false);
        assert_eq!(own.entry, Entry::Targets { begin: Cuts::from(0, 1).without(Cuts::from(0, 2)), references: 1 | 1 << 20 });
        let mut far = Writer::default();
        far.put(2, 3).put(6, 7).put(16, 9).put(5, 0b00010).put(2, 3).put(12, 70).put(2, 0);
        assert_eq!(frame(&far.bytes(), &structure, false).entry, Entry::Targets { begin: Cuts::NONE, references: 0 });
    }

    proptest! {
        #[test]
        fn no_descriptor_makes_it_panic(first in prop::collection::vec(any::<u8>(), 0..80), second in prop::collection::vec(any::<u8>(), 0..16)) {
            let whole = Structure::read(&l1t3()).unwrap();
            let mut forced = first.clone();
            if let Some(byte) = forced.get_mut(3) {
                *byte |= 0x80;
            }
            for structure in [Structure::read(&first), Structure::read(&forced), Some(whole)].into_iter().flatten() {
                for descriptor in [&first, &forced, &second] {
                    let frame = frame(descriptor, &structure, false);
                    prop_assert!(frame.cuts != Cuts::NONE);
                }
                prop_assert!(structure.largest() <= Cut::ALL);
            }
        }
    }
}
