"""Matching: every measure against another library or by counting, and groups."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from scoread_qgis.decisions import matching
from scoread_qgis.decisions.matching import Background, best_matches, continuum_removed, groups, spectral_angles

BANDS = 24
WAVELENGTHS = np.linspace(400, 2400, BANDS)


def smooth(count, seed):
    generator = np.random.default_rng(seed)
    return generator.uniform(0.1, 0.5, (count, 1)) + 0.02 * np.cumsum(generator.normal(size=(count, BANDS)), axis=1) + 0.1


def background(count=3000, seed=0):
    spectra = np.random.default_rng(seed).normal(size=(count, 5)) @ smooth(5, 1) * 0.1 + smooth(1, 2)
    spectra += 0.01 * np.random.default_rng(seed + 1).normal(size=spectra.shape)
    return Background(spectra, spectra.mean(axis=0), np.cov(spectra.T))


@pytest.fixture
def exact(monkeypatch):
    """Without the allowance for the calibration, so that values are those of the published formula."""
    monkeypatch.setattr(matching, "CALIBRATION_ERROR", 0.0)


class TestMeasures:
    def test_angles_are_those_of_spy(self):
        from spectral import spectral_angles as of_spy

        spectra, others = smooth(7, 3), smooth(4, 4)
        assert spectral_angles(spectra, others) == pytest.approx(np.degrees(of_spy(spectra[None], others)[0]))

    def test_angles_over_the_bands_that_an_entry_has(self):
        spectra, others = smooth(3, 3), smooth(2, 4)
        others[0, 5:9] = np.nan
        assert spectral_angles(spectra, others)[:, 0] == pytest.approx(
            spectral_angles(np.delete(spectra, slice(5, 9), 1), np.delete(others[:1], slice(5, 9), 1))[:, 0]
        )

    def test_the_continuum_is_the_upper_convex_hull(self):
        spectra = smooth(40, 5)
        removed = continuum_removed(spectra, WAVELENGTHS)
        for spectrum, own in zip(spectra, removed):
            below = [[WAVELENGTHS[0], -9], [WAVELENGTHS[-1], -9]]
            corners = np.sort(ConvexHull(np.concatenate([np.stack([WAVELENGTHS, spectrum], axis=1), below])).vertices)
            corners = corners[corners < BANDS]
            assert own == pytest.approx(spectrum / np.interp(WAVELENGTHS, WAVELENGTHS[corners], spectrum[corners]))

    def test_the_continuum_is_that_of_spy(self):
        from spectral.algorithms.continuum import remove_continuum

        spectra = smooth(20, 6)
        assert continuum_removed(spectra, WAVELENGTHS) == pytest.approx(remove_continuum(spectra, WAVELENGTHS), abs=1e-9)

    def test_the_order_of_the_bands_does_not_matter(self):
        spectra, order = smooth(5, 7), np.random.default_rng(0).permutation(BANDS)
        assert continuum_removed(spectra[:, order], WAVELENGTHS[order]) == pytest.approx(continuum_removed(spectra, WAVELENGTHS)[:, order])

    def test_where_the_hull_is_not_positive_nothing_is_divided(self):
        assert (continuum_removed(np.zeros((1, BANDS)), WAVELENGTHS) == 1).all()
        assert np.isfinite(continuum_removed(smooth(3, 8) - 0.5, WAVELENGTHS)).all()


class TestBestMatches:
    def test_coherences_are_those_of_spy_and_shares_are_counted(self, exact):
        from spectral import GaussianStats, ace

        known, library, spectra = background(), smooth(12, 9), smooth(6, 10)
        found = best_matches(spectra, library, known, WAVELENGTHS, count=12)
        stats = GaussianStats(known.mean, known.covariance, len(known.spectra))
        for entry, target in enumerate(library):
            of_regions, of_pixels = (ace(each, target, stats) for each in (spectra, known.spectra))
            # SPy's value is squared: it loses the sign, by which a deviation in the opposite direction is no match.
            whitened = np.linalg.solve(known.covariance, target - known.mean)
            of_regions, of_pixels = (
                np.sign((each - known.mean) @ whitened) * np.sqrt(value)
                for each, value in ((spectra, of_regions), (known.spectra, of_pixels))
            )
            for region in range(len(spectra)):
                place = np.flatnonzero(found.entries[region] == entry)
                if of_regions[region] <= 0:
                    assert not place.size
                    continue
                assert found.coherences[region, place] == pytest.approx(of_regions[region], abs=1e-4)
                share = (np.count_nonzero(of_pixels >= of_regions[region] - 1e-7) + 1) / (len(of_pixels) + 1)
                assert found.shares[region, place] == pytest.approx(share, abs=2.1 / len(of_pixels))

    def test_are_ranked_by_their_share_and_described(self):
        known, library, spectra = background(), smooth(30, 9), smooth(5, 10)
        found = best_matches(spectra, library, known, WAVELENGTHS)
        assert found.entries.shape == (5, 3) and (np.diff(found.shares, axis=1)[found.entries[:, 1:] >= 0] >= 0).all()
        for region, place in zip(*np.nonzero(found.entries >= 0)):
            entry = library[[found.entries[region, place]]]
            assert found.angles[region, place] == pytest.approx(spectral_angles(spectra[[region]], entry)[0, 0])
            features = (continuum_removed(each, WAVELENGTHS)[0] for each in (spectra[[region]], entry))
            assert found.features[region, place] == pytest.approx(np.corrcoef(*features)[0, 1])

    def test_a_material_is_found_in_a_third_of_a_pixel(self):
        known, library = background(), smooth(200, 11)
        pixels = 0.67 * known.spectra[:20] + 0.33 * library[:20]
        found = best_matches(pixels, library, known, WAVELENGTHS)
        by_angle = spectral_angles(pixels, library).argmin(axis=1)
        right = [np.mean(each == np.arange(20)) for each in (found.entries[:, 0], by_angle)]
        assert right[0] > 0.8 and right[1] < 0.2, right

    def test_missing_bands_are_as_if_they_were_not_there(self):
        known, library, spectra = background(), smooth(8, 12), smooth(4, 13)
        gone = np.arange(3, 9)
        missing = library.copy()
        missing[:, gone] = np.nan
        found = best_matches(spectra, missing, known, WAVELENGTHS)
        kept = np.delete(np.arange(BANDS), gone)
        fewer = Background(known.spectra[:, kept], known.mean[kept], known.covariance[np.ix_(kept, kept)])
        expected = best_matches(spectra[:, kept], library[:, kept], fewer, WAVELENGTHS[kept])
        assert (found.entries == expected.entries).all()
        assert found.shares == pytest.approx(expected.shares, nan_ok=True)
        assert set(found.bands[found.entries >= 0]) == {len(kept)}

    def test_entries_of_different_ranges_are_compared_by_what_chance_gives(self):
        """In three bands, nearly everything is alike: that is no better match than one in all bands."""
        known, library = background(), smooth(40, 14)
        pixels = library[:5] + 0.01 * np.random.default_rng(0).normal(size=(5, BANDS))
        library[5:, 3:] = np.nan
        assert (best_matches(pixels, library, known, WAVELENGTHS).entries[:, 0] == np.arange(5)).all()

    def test_nothing_matches_entries_of_two_bands_nor_spectra_that_are_unknown(self):
        known, library, spectra = background(), smooth(3, 15), smooth(2, 16)
        library[:, 2:] = np.nan
        found = best_matches(spectra, library, known, WAVELENGTHS)
        assert (found.entries == -1).all() and np.isnan(found.shares).all() and (found.bands == 0).all()
        spectra[0] = np.nan
        found = best_matches(spectra, smooth(30, 15), known, WAVELENGTHS)
        assert (found.entries[0] == -1).all() and (found.entries[1] >= 0).any()

    def test_the_size_of_the_parts_does_not_matter(self, monkeypatch):
        known, library, spectra = background(), smooth(60, 17), smooth(9, 18)
        library[::3, :2] = np.nan
        whole = best_matches(spectra, library, known, WAVELENGTHS)
        monkeypatch.setattr(matching, "_PAIRS", 30)
        parts = best_matches(spectra, library, known, WAVELENGTHS)
        assert (whole.entries == parts.entries).all() and (whole.shares == pytest.approx(parts.shares))

    def test_a_cancel_ends_it(self):
        from scoread_qgis.core.progress import Cancelled, Progress

        def report(fraction, message):
            raise Cancelled

        for work in (lambda p: best_matches(smooth(2, 1), smooth(2, 2), background(), WAVELENGTHS, progress=p),
                     lambda p: groups(smooth(9, 1), background(), 40, p)):  # fmt: skip
            with pytest.raises(Cancelled):
                work(Progress(report))


class TestGroups:
    def spectra(self, known, count=30):
        """Pixels of which shares of 0.5 to 1 are one of three materials, and the materials."""
        generator = np.random.default_rng(3)
        materials, kinds = smooth(3, 21), np.arange(count) % 3
        share = generator.uniform(0.5, 1, (count, 1))
        return share * materials[kinds] + (1 - share) * known.spectra[:count], kinds

    def test_are_the_materials_whatever_their_share(self):
        known = background()
        spectra, kinds = self.spectra(known)
        assert (groups(spectra, known, 40) == kinds + 1).all()

    def test_any_two_of_a_group_are_as_close_as_asked(self, exact):
        known, spectra = background(), smooth(60, 22)
        found = groups(spectra, known, 40)
        cosines = spectral_angles(*[(spectra - known.mean) @ np.linalg.cholesky(np.linalg.inv(known.covariance))] * 2)
        together = found[:, None] == found
        assert (cosines[together] < 40).all() and 1 < found.max() < 60

    def test_are_numbered_in_the_order_of_the_regions(self):
        known = background()
        spectra, _ = self.spectra(known)
        found = groups(spectra[::-1], known, 40)
        first = [np.flatnonzero(found == number)[0] for number in range(1, found.max() + 1)]
        assert first == sorted(first)

    def test_regions_without_spectra_are_in_none(self):
        known = background()
        spectra, _ = self.spectra(known, 6)
        spectra[2] = np.nan
        assert groups(spectra, known, 40).tolist() == [1, 2, 0, 1, 2, 3]
        assert groups(spectra[:1], known, 40).tolist() == [1]
        assert groups(spectra[:0], known, 40).tolist() == []

    def test_those_beyond_the_limit_join_the_groups(self, monkeypatch):
        known = background()
        spectra, kinds = self.spectra(known, 60)
        monkeypatch.setattr(matching, "MOST_GROUPED", 24)
        found = groups(np.concatenate([spectra, [2 * known.mean - spectra[0]]]), known, 40)
        assert np.mean(found[:60] == kinds + 1) > 0.95
        assert found[60] > 3  # like none of them
