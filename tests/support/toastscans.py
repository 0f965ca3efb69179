"""Frames of observations, and the maps that spt3g's own binners and TOAST make of them."""

import numpy as np
import pytest
from ranks_plugin import on_a_rank
from spt3g import calibration, core, maps

from g3reduce import UsageError
from g3reduce.toast3.importing import load_toast

U = core.G3Units
NSIDE = 64
RATE = 20 * U.Hz
POINTING, SIGNAL, NETS = "OnlineRaDecRotation", "CalTimestreams", "NET"


def toast_or_skip():
    """TOAST; without MPI in the process that starts the tests on ranks, which has none."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            if not on_a_rank():
                patch.setenv("MPI_DISABLE", "1")
            return load_toast()
    except UsageError as error:
        pytest.skip(f"needs TOAST: {error}")


def calibration_frame(detectors, seed):
    """Offsets, angles, efficiencies and NETs at random."""
    rng = np.random.default_rng(seed)
    frame = core.G3Frame(core.G3FrameType.Calibration)
    properties, nets = calibration.BolometerPropertiesMap(), core.G3MapDouble()
    for name in detectors:
        bolo = calibration.BolometerProperties()
        bolo.physical_name, bolo.wafer_id, bolo.pixel_id = f"physical {name}", "w1", name[:2]
        bolo.x_offset, bolo.y_offset = rng.uniform(-1, 1, 2) * U.deg
        bolo.pol_angle, bolo.pol_efficiency = rng.uniform(0, 180) * U.deg, rng.uniform(0.8, 1)
        bolo.band = 150 * U.GHz
        properties[name], nets[name] = bolo, rng.uniform(200, 600) * U.uK * U.s**0.5
    frame["BolometerProperties"], frame[NETS] = properties, nets
    return frame


def observation(number, detectors, n_scans=3, *, n_samples=40, lacking=(), seed=1):
    """An Observation frame, a Calibration frame and scans along circles of declination.

    The second scan lacks the detectors `lacking`.
    """
    rng = np.random.default_rng([seed, number])
    head = core.G3Frame(core.G3FrameType.Observation)
    head["SourceName"], head["ObservationID"] = "field", number
    frames = [head, calibration_frame(detectors, [seed, number])]
    begin = core.G3Time("20260102_030405").time + int(number * 3600 * U.s)
    for scan in range(n_scans):
        names = [name for name in detectors if scan != 1 or name not in lacking]
        length = n_samples + int(rng.integers(-5, 6))
        ra = rng.uniform(0, 360) * U.deg + np.linspace(0, 20, length) * U.deg
        dec = np.full(length, rng.uniform(-70, -30) * U.deg)
        frame = core.G3Frame(core.G3FrameType.Scan)
        data = rng.standard_normal((len(names), length)) * 100 * U.uK
        start_time = core.G3Time(int(begin))
        stop_time = core.G3Time(int(begin + (length - 1) * U.s / (RATE / U.Hz)))
        frame[SIGNAL] = core.G3TimestreamMap(
            names,
            data,
            start=start_time,
            stop=stop_time,
            units=core.G3TimestreamUnits.Tcmb,
        )
        pointing = maps.get_origin_rotator_timestream(
            core.G3Timestream(ra), core.G3Timestream(dec), maps.MapCoordReference.Equatorial
        )
        pointing.start, pointing.stop = start_time, stop_time
        frame[POINTING] = pointing
        frames.append(frame)
        begin += (length + 7) * U.s / (RATE / U.Hz)  # 7 samples of a turnaround are not recorded
    return frames


def rotation(x_offset, y_offset, transform):
    """What `maps.get_rot_ang` gives, but exact for small angles, too: how far the meridian at a
    detector is turned when the boresight goes from the origin to where it points."""

    def north(q):
        return core.Quat(0, -q.d * q.b, -q.d * q.c, 1 - q.d**2)

    start = maps.offsets_to_quat(x_offset, y_offset)
    turned = transform * north(start) * ~transform
    end = transform * start * ~transform
    a, b, c = ([q.b, q.c, q.d] for q in (end, turned, north(end)))
    return np.arctan2(np.dot(a, np.cross(b, c)), np.dot(b, c))


def follow_rotation(frame):
    """Scan frames with a calibration before them, in which angles of polarization are those on the
    sky: spt3g's binner takes them as they are, wherever the boresight points."""
    if frame.type == core.G3FrameType.Calibration:
        follow_rotation.calibration = frame
    if frame.type != core.G3FrameType.Scan:
        return frame
    first, *_, last = frame[POINTING]
    original = follow_rotation.calibration["BolometerProperties"]
    turned = calibration.BolometerPropertiesMap()
    for name, bolo in original.items():
        angles = [rotation(bolo.x_offset, bolo.y_offset, q) for q in (first, last)]
        assert abs(angles[1] - angles[0]) < 1e-12  # as the declination is constant
        changed = calibration.BolometerProperties(bolo)
        changed.pol_angle = bolo.pol_angle + angles[0] * U.rad
        turned[name] = changed
    properties = core.G3Frame(core.G3FrameType.Calibration)
    properties["BolometerProperties"] = turned
    return [properties, frame]


def weights_of(frame, rate):
    """Inverse variances of samples, from the NETs."""
    return core.G3MapDouble({name: 1 / (net**2 * rate) for name, net in frame[NETS].items()})


def spt3g_maps(observations):
    """Arrays of all pixels, by name: T, Q, U (weighted), weights TT to UU, and hits H."""
    stub = maps.HealpixSkyMap(NSIDE, weighted=True, pol_conv=maps.MapPolConv.IAU)
    frames = iter([frame for frames in observations for frame in frames])
    latest = {}

    def weigh(frame):
        if frame.type == core.G3FrameType.Calibration and NETS in frame:
            latest["weights"] = weights_of(frame, RATE)
        if frame.type == core.G3FrameType.Scan:
            frame["Weights"] = latest["weights"]

    made = {}

    def take(frame):
        if frame.type == core.G3FrameType.Map:
            for key in ("T", "Q", "U", "H"):
                if key in frame:
                    made[key] = np.array(frame[key])
            if "Wpol" in frame:
                for key in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
                    made[key] = np.array(getattr(frame["Wpol"], key))

    pipe = core.G3Pipeline()
    pipe.Add(lambda frame: next(frames, []))
    pipe.Add(weigh)
    pipe.Add(follow_rotation)
    binner = {"map_id": "all", "stub_map": stub, "pointing": POINTING, "timestreams": SIGNAL}
    pipe.Add(maps.MapBinner, **binner, detector_weights="Weights")
    pipe.Add(maps.HitsBinner, **binner)
    pipe.Add(take)
    pipe.Run()
    return made


def toast_maps(data):
    """The same of a `toast.Data`, and whether each pixel is known on this rank."""
    import toast.ops

    toast.ops.DefaultNoiseModel().apply(data)
    pointing = toast.ops.PointingDetectorSimple()
    pixels = toast.ops.PixelsHealpix(nside=NSIDE, nest=False, detector_pointing=pointing)
    weights = toast.ops.StokesWeights(mode="IQU", IAU=True, detector_pointing=pointing)
    toast.ops.BuildPixelDistribution(pixel_pointing=pixels).apply(data)
    names = {"pixel_dist": "pixel_dist", "pixels": pixels.pixels}
    toast.ops.Pipeline(
        detector_sets=["ALL"],
        operators=[
            pixels,
            weights,
            toast.ops.BuildHitMap(**names, hits="hits"),
            toast.ops.BuildNoiseWeighted(
                **names, weights=weights.weights, det_data="signal", zmap="zmap"
            ),
            toast.ops.BuildInverseCovariance(
                **names, weights=weights.weights, inverse_covariance="invcov"
            ),
        ],
    ).apply(data)
    known = np.zeros(12 * NSIDE**2, bool)
    made = {}
    groups = (("hits", "H"), ("zmap", "T Q U"), ("invcov", "TT TQ TU QQ QU UU"))
    for name, keys in groups:
        pixel_data = data[name]
        dist = pixel_data.distribution
        for number, key in enumerate(keys.split()):
            plane = made[key] = np.zeros(len(known))
            for local, submap in enumerate(dist.local_submaps):
                first = submap * dist.n_pix_submap
                values = pixel_data.data[local, :, number]
                plane[first : first + len(values)] = values
                known[first : first + len(values)] = True
    # Kelvin are 1000 in G3Units, and maps here are in 1/K, weights in 1/K^2.
    for key in "TQU":
        made[key] = made[key] / U.K
    for key in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
        made[key] = made[key] / U.K**2
    return made, known
