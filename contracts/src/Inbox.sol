// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

/// @title Inbox
/// @notice The order of the rollup: an append-only list of batches. A batch is named by its id and
/// by an accumulator over every batch up to it, so one hash stands for the whole history.
///
/// The accumulator depends on content only, not on the L1 block that carries the batch: a batch that
/// an L1 reorg dropped is posted again with the same call, and several batches can be in flight in
/// one L1 block.
///
/// What it deliberately does not do:
/// - it does not look into a batch. Bytes that do not decode are an empty batch for derivation;
/// - it does not rewrite or delete. There is no upgrade and no way to move the list backwards;
/// - it does not claim anything about L2 state: that is `Outputs`;
/// - it does not take messages from users yet, so nothing forces the sequencer to include one.
contract Inbox is Ownable2Step {
    /// @notice Domain of a batch whose bytes are the calldata of the appending transaction.
    uint8 public constant KIND_CALLDATA = 0;
    /// @notice Domain of a batch whose bytes are in the blobs of the appending transaction.
    uint8 public constant KIND_BLOB = 1;
    /// @notice Most blobs that one batch may have.
    uint256 public constant MAX_BLOBS = 6;
    /// @notice Most bytes of `meta` that a blob batch may carry.
    uint256 public constant MAX_META_BYTES = 1024;
    /// @notice Accumulators kept on chain; an older one is evicted by a newer one.
    uint256 public constant RING_SIZE = 8192;

    /// @notice Hash of the rollup's configuration. A node refuses to run with any other.
    bytes32 public immutable configHash;
    /// @notice Chain id of the rollup.
    uint64 public immutable l2ChainId;

    /// @notice The only account that may append.
    /// @dev Shares a slot with `nextBatch`, so that an append reads both with one load.
    address public sequencer;
    /// @notice Id of the next batch, which is also the number of batches.
    uint64 public nextBatch;
    /// @dev Accumulator after batch `id` is at `id % RING_SIZE`.
    bytes32[RING_SIZE] private _ring;

    /// @notice A batch was appended. Derivation follows these events and nothing else.
    /// @param id Position of the batch, counted from 0.
    /// @param acc Accumulator after this batch.
    /// @param parentAcc Accumulator before it.
    /// @param kind `KIND_CALLDATA` or `KIND_BLOB`.
    /// @param dataHash What identifies the bytes: see `appendBlobs` and `appendCalldata`.
    /// @param blobHashes Versioned hashes in order; empty for a calldata batch.
    event BatchAppended(
        uint64 indexed id,
        bytes32 indexed acc,
        bytes32 parentAcc,
        uint8 kind,
        bytes32 dataHash,
        bytes32[] blobHashes
    );
    /// @notice The sequencer was set or rotated.
    /// @param previous Account that could append until now; zero at deployment.
    /// @param current Account that can append from now on.
    event SequencerChanged(address indexed previous, address indexed current);

    /// @notice The caller is not the sequencer.
    error NotSequencer(address caller);
    /// @notice The sequencer must not be the zero address.
    error ZeroSequencer();
    /// @notice The batch was built on another accumulator than the current one.
    error StaleParent(bytes32 given, bytes32 current);
    /// @notice The number of blobs is not in 1..=MAX_BLOBS.
    error BlobCountOutOfRange(uint256 count);
    /// @notice The transaction carries fewer blobs than the batch says.
    error MissingBlob(uint256 index);
    /// @notice The transaction carries a blob that the batch does not account for.
    error UnaccountedBlob(uint256 index);
    /// @notice The meta bytes are longer than MAX_META_BYTES.
    error MetaTooLong(uint256 length);
    /// @notice A calldata batch must have bytes.
    error EmptyBatch();
    /// @notice A calldata batch must be the input of the transaction itself.
    error NotTopLevel();
    /// @notice The accumulator is not known: the batch does not exist yet, or was evicted.
    error UnknownBatch(uint64 id);

    /// @notice Fixes the chain and appoints the first sequencer.
    /// @dev Reverts with `OwnableInvalidOwner`, `ZeroSequencer`. Emits `OwnershipTransferred`,
    /// `SequencerChanged`.
    /// @param owner_ Account that rotates the sequencer.
    /// @param sequencer_ First account that may append.
    /// @param configHash_ Hash of the rollup's configuration.
    /// @param l2ChainId_ Chain id of the rollup.
    constructor(address owner_, address sequencer_, bytes32 configHash_, uint64 l2ChainId_)
        Ownable(owner_)
    {
        configHash = configHash_;
        l2ChainId = l2ChainId_;
        _setSequencer(sequencer_);
    }

    /// @notice Appends a batch whose bytes are the blobs of this transaction, all of them, in order.
    /// The data hash is the hash of the concatenated versioned hashes.
    /// @dev Reverts with `NotSequencer`, `StaleParent`, `BlobCountOutOfRange`, `MetaTooLong`,
    /// `MissingBlob`, `UnaccountedBlob`. Emits `BatchAppended`.
    /// @param parentAcc Accumulator that the batch was built on.
    /// @param nBlobs Number of blobs in the transaction.
    /// @param meta Hints for readers of the transaction. Neither committed to nor derived from.
    function appendBlobs(bytes32 parentAcc, uint256 nBlobs, bytes calldata meta) external {
        (uint64 id, bytes32 current) = _authorize(parentAcc);
        if (nBlobs == 0 || nBlobs > MAX_BLOBS) revert BlobCountOutOfRange(nBlobs);
        if (meta.length > MAX_META_BYTES) revert MetaTooLong(meta.length);
        bytes32[] memory hashes = new bytes32[](nBlobs);
        for (uint256 i = 0; i < nBlobs; ++i) {
            hashes[i] = blobhash(i);
            if (hashes[i] == 0) revert MissingBlob(i);
        }
        if (blobhash(nBlobs) != 0) revert UnaccountedBlob(nBlobs);
        _append(id, current, KIND_BLOB, keccak256(abi.encodePacked(hashes)), hashes);
    }

    /// @notice Appends a batch whose bytes are `data`. The data hash is the hash of `data`.
    /// @dev Derivation reads the bytes from the input of the L1 transaction, so that input has to be
    /// exactly this call. The caller being the origin excludes contracts. It does not exclude an
    /// account with an EIP-7702 delegation, which can send a transaction to itself and call from its
    /// delegated code: having no code excludes that.
    /// Reverts with `NotSequencer`, `StaleParent`, `NotTopLevel`, `EmptyBatch`. Emits
    /// `BatchAppended`.
    /// @param parentAcc Accumulator that the batch was built on.
    /// @param data The batch.
    function appendCalldata(bytes32 parentAcc, bytes calldata data) external {
        (uint64 id, bytes32 current) = _authorize(parentAcc);
        if (msg.sender != tx.origin || msg.sender.code.length != 0) revert NotTopLevel();
        if (data.length == 0) revert EmptyBatch();
        _append(id, current, KIND_CALLDATA, keccak256(data), new bytes32[](0));
    }

    /// @notice Rotates the sequencer. Batches appended before stay valid.
    /// @dev Reverts with `OwnableUnauthorizedAccount`, `ZeroSequencer`. Emits `SequencerChanged`.
    /// @param sequencer_ Account that may append from now on.
    function setSequencer(address sequencer_) external onlyOwner {
        _setSequencer(sequencer_);
    }

    /// @notice Accumulator after batch `id`.
    /// @dev Reverts with `UnknownBatch` when the batch does not exist or is older than the last
    /// RING_SIZE batches.
    /// @param id Batch to look up.
    /// @return The accumulator.
    function accAt(uint64 id) external view returns (bytes32) {
        uint256 next = nextBatch;
        if (id >= next || id + RING_SIZE < next) revert UnknownBatch(id);
        return _ring[id % RING_SIZE];
    }

    /// @notice Accumulator after the last batch; zero while there is none.
    /// @return The accumulator, which is the `parentAcc` of the next append.
    function acc() external view returns (bytes32) {
        return _accBefore(nextBatch);
    }

    /// @dev Checks what every append has to satisfy; returns the batch's id and the accumulator
    /// before it. Reverts with `NotSequencer`, `StaleParent`.
    function _authorize(bytes32 parentAcc) private view returns (uint64 id, bytes32 current) {
        if (msg.sender != sequencer) revert NotSequencer(msg.sender);
        id = nextBatch;
        current = _accBefore(id);
        if (parentAcc != current) revert StaleParent(parentAcc, current);
    }

    /// @dev Writes the batch. Emits `BatchAppended`.
    function _append(
        uint64 id,
        bytes32 parentAcc,
        uint8 kind,
        bytes32 dataHash,
        bytes32[] memory blobHashes
    ) private {
        // `kind` separates the domains: no calldata can be read as blobs or the other way round.
        bytes32 next = keccak256(abi.encode(parentAcc, id, kind, dataHash));
        _ring[id % RING_SIZE] = next;
        nextBatch = id + 1;
        emit BatchAppended(id, next, parentAcc, kind, dataHash, blobHashes);
    }

    /// @dev Sets the sequencer. Reverts with `ZeroSequencer`. Emits `SequencerChanged`.
    function _setSequencer(address sequencer_) private {
        if (sequencer_ == address(0)) revert ZeroSequencer();
        emit SequencerChanged(sequencer, sequencer_);
        sequencer = sequencer_;
    }

    /// @dev Accumulator that batch `id` builds on. Only right for the next batch.
    function _accBefore(uint64 id) private view returns (bytes32) {
        return id == 0 ? bytes32(0) : _ring[(id - 1) % RING_SIZE];
    }
}
