//! keccak-f\[1600\] written once for lanes of any width (FIPS 202, section 3.2). Knows no instruction:
//! who uses the macro brings `xor`, `xor5`, `rotate`, `chi` and `broadcast` for one kind of lane.

/// Iota: one constant a round.
pub(super) const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808A,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808B,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008A,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000A,
    0x0000_0000_8000_808B,
    0x8000_0000_0000_008B,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800A,
    0x8000_0000_8000_000A,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// One row after rho, pi and chi: for each of its lanes the row and column that the lane comes from
/// and the bits that it is rotated by.
macro_rules! row {
    ($mix:ident: $($row:ident $column:literal << $bits:literal),*) => {{
        let lanes =
            [$(rotate::<$bits, { 64 - $bits }>(xor($row[$column], $mix[$column]))),*];
        [
            chi(lanes[0], lanes[1], lanes[2]),
            chi(lanes[1], lanes[2], lanes[3]),
            chi(lanes[2], lanes[3], lanes[4]),
            chi(lanes[3], lanes[4], lanes[0]),
            chi(lanes[4], lanes[0], lanes[1]),
        ]
    }};
}
pub(super) use row;

/// Permutes `$state`, five rows of five lanes. A macro, because a generic function could not be
/// compiled for the instructions that its caller may use.
macro_rules! keccak_f {
    ($state:ident) => {
        for constant in $crate::keccak::permutation::ROUND_CONSTANTS {
            // Theta.
            let [r0, r1, r2, r3, r4] = $state;
            let parity = [
                xor5(r0[0], r1[0], r2[0], r3[0], r4[0]),
                xor5(r0[1], r1[1], r2[1], r3[1], r4[1]),
                xor5(r0[2], r1[2], r2[2], r3[2], r4[2]),
                xor5(r0[3], r1[3], r2[3], r3[3], r4[3]),
                xor5(r0[4], r1[4], r2[4], r3[4], r4[4]),
            ];
            let mix = [
                xor(parity[4], rotate::<1, 63>(parity[1])),
                xor(parity[0], rotate::<1, 63>(parity[2])),
                xor(parity[1], rotate::<1, 63>(parity[3])),
                xor(parity[2], rotate::<1, 63>(parity[4])),
                xor(parity[3], rotate::<1, 63>(parity[0])),
            ];
            use $crate::keccak::permutation::row;
            $state = [
                row!(mix: r0 0 << 0, r1 1 << 44, r2 2 << 43, r3 3 << 21, r4 4 << 14),
                row!(mix: r0 3 << 28, r1 4 << 20, r2 0 << 3, r3 1 << 45, r4 2 << 61),
                row!(mix: r0 1 << 1, r1 2 << 6, r2 3 << 25, r3 4 << 8, r4 0 << 18),
                row!(mix: r0 4 << 27, r1 0 << 36, r2 1 << 10, r3 2 << 15, r4 3 << 56),
                row!(mix: r0 2 << 62, r1 3 << 55, r2 4 << 39, r3 0 << 41, r4 1 << 2),
            ];
            $state[0][0] = xor($state[0][0], broadcast(constant));
        }
    };
}
pub(super) use keccak_f;
