//! Any payload as any codec's: the descriptor, patching its numbers, and the wrappings RTX and RED. A patched number must
//! be read again, and patching must touch nothing else the descriptor says.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::rtp::descriptor::frame_info;
use weir::rtp::rewrite::apply_numbers;
use weir::rtp::{Codec, Extensions, Numbers, red, rtx};

fuzz_target!(|data: &[u8]| {
    let Some((&split, data)) = data.split_first() else { return };
    let (descriptor, payload) = data.split_at(usize::from(split & 0x1F).min(data.len()));
    let ext =
        Extensions { dependency: (split & 0x80 != 0).then(|| Bytes::copy_from_slice(descriptor)), ..Extensions::default() };
    for codec in Codec::ALL {
        let info = frame_info(codec, payload, &ext);
        if let Numbers::Picture { id, wide, offset, tl0 } = info.numbers {
            let id = id.wrapping_add(77) & if wide { 0x7FFF } else { 0x7F };
            let numbers = Numbers::Picture { id, wide, offset, tl0: tl0.map(|(index, at)| (index.wrapping_add(9), at)) };
            let mut patched = payload.to_vec();
            apply_numbers(&mut patched, &numbers);
            let again = frame_info(codec, &patched, &ext);
            assert_eq!(again.numbers, numbers);
            assert_eq!(
                (again.starts_keyframe, again.starts_frame, again.temporal),
                (info.starts_keyframe, info.starts_frame, info.temporal)
            );
        }
    }
    red::primary(payload);
    rtx::original(&Bytes::copy_from_slice(payload));
});
