<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" sourcelanguage="en">
<context>
    <name>scoread</name>
    <message>
        <source> (high)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source> (low)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Keep these regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>1 for anomalies, 0 for the background, for evaluation. Not written where the file has no such map.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>1 for pixels of the regions, 0 elsewhere, nodata where the map has no score.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>1 where an anomaly covers at least a tenth of the pixel, else 0. For evaluation; no detector reads it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>4, by sides</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>8, by corners too</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&lt;b&gt;Everything is there:&lt;/b&gt; {packages}. It belongs to QGIS' Python, is used as it is, and there is nothing to install.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&lt;b&gt;Everything is there:&lt;/b&gt; {packages}. Uninstalled with one click: {ours}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&lt;b&gt;Missing: {packages}&lt;/b&gt;. The algorithms cannot run yet.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&lt;b&gt;PyTorch will be removed when QGIS starts next&lt;/b&gt;, since its files are in use: {folder}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A line for each region and band: observed and expected background spectrum, difference, contribution.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A line for each region: place, value of its mean spectrum (not the peak of the map), bands that contribute most, most similar spectrum.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A page with a map of the regions, and each one's spectrum over those that it matches best.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A page with a map of the regions, and the spectra and numbers of each. Opens in any browser, without network.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A page with everything needed to judge and to repeat the run: settings, bands, the loss curve where a network was trained, spectra sampled from the model, log.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A page with the accepted regions. One file, which opens in any browser, without network.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A page, and if wanted a PDF, of the accepted regions.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A print layout with an atlas. Unset: scoread_report.qpt among the layout templates of your QGIS profile, or else that of the plugin.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A sheet for each accepted region, from the template.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>ACE</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>ACE: by the angle between the spectrum and the targets, seen against the background; bright pixels do not score high for being bright. Matched filter: by the amount of target, 1 in the target itself, which is also an estimate of its share of the pixel.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>AUC-ROC of the first map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Accept</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Accept the selected regions, and go on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Accepted regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Adapt</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Adapt: re-estimate from the scene what belongs to it, and keep the rest of the model. Warn: use the model as it is. Refuse: make no map.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Alike...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>All numbers with their intervals, ROC curves, separability and the maps beside the ground truth, in one HTML file that opens without network.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Angle</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Angle within a group</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomalies are being found already: the progress is at the bottom of the window.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomalies in {name} cannot be found: {why}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomalies of {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomaly</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomaly ({})</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomaly detection</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomaly map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomaly maps</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomaly score, Float32, on the grid and CRS of the scene; nodata where a band has no data. Larger is more anomalous.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Anomaly value {:.4g}, of the expected spectrum {:.4g} ({}).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Area</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Area to look at</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Around here is too little to expect a spectrum from.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>As published</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Automatic</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Average precision of the first map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Backbone</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Backbone weights</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Background</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Background scenes</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bands</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bands to choose from. Unset: those of the model, by wavelength where known, else by number.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bands to choose from. Unset: those of the model, by wavelength where known, else by number; or all good ones.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bands to use. Unset: all good bands, which the log names.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bands to use. Unset: all good ones.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Base of the noise scale of the diffusion. Published: 5. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Batch size</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancel installation</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancelled. Nothing was installed.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancelled: what the steps before have written is there, and nothing else.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Check installation</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Check the installation of ScoreAD</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose a file...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose an anomaly map: in the layer tree, or above.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose the scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose the scene above to see spectra.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose the scene in the dock first: spectra are read from there.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Clear verdict</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Click a pixel, or choose a region.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Click pixels on the canvas; hold Shift to follow the mouse, Ctrl to pin what you click.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Close</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Colours of {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Columns</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Compact</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Compact: small networks for a processor. As published: Wide-ResNet-101-2 and ResNet34, for a GPU.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Conditional: odd width in pixels of the window that the context comes from. Published: 3, 5 or 7. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Conditional: odd width in pixels of the window that the context does not come from. Published: 1, 3 or 5. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connectivity</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Contributions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy as CSV</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy command</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy for a bug report</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy or save the spectra that are shown.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Counting regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Create sample scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Default</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Default: seconds, and one setting for all scenes. Paper: ScoreAD as published (arXiv 2601.12379), minutes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Detect anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Detect anomalies (RX)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Detect, extract and explain</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Detect, extract and identify</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Detector</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Detects and extracts the anomalies of a scene with a model that is already trained. Run it as a batch process to screen many scenes of a sensor with one model: a map and a layer of ranked regions for each. Whether a scene fits the model is measured, and the model is adapted where it does not.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Device</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Device where an algorithm's is auto</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>ENVI spectral library (*.sli);;CSV (*.csv)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Entries of the libraries</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Epochs</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Evaluate anomaly maps</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Everything works.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Expected false alarms: not known. {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Expected false alarms: {} pixels</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Explain anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Export reviewed anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Export...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Extract anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>FERS: readout</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>False-alarm &amp;rate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>False-alarm rate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>False-alarm rate (for that method)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>False-alarm rate: from a fit of the upper tail of the background's scores. Percentile: a share of all pixels. Otsu: splits the scores into the two classes that differ most, for maps with many anomalies. Value: a score.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>File for the model: weights, scaling, wavelengths, settings, loss curve. Detect anomalies takes it. The dialog proposes one beside the scene, or else in the folder scoread_models of the profile.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>File for the model: weights, wavelengths, settings, loss curve. Detect anomalies takes it. The dialog proposes one beside the first scene, or else in the folder scoread_models of the profile.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>File that keeps the targets: Explain anomalies explains the map with it, and Detect anomalies searches in scenes of the sensor.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Files, or folders, of reflectance spectra: ENVI (.sli with its .hdr), USGS splib07 and ECOSTRESS or ASTER (.txt), tables (.csv), EnMAP-Box profiles (.gpkg, .geojson). Unset: regions are only grouped.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Find anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Find anomalies in this layer...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Find anomalies in this layer: map and regions in one go</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Find similar</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Finding anomalies in {} was cancelled.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Flat field</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Folder for temporary files (empty: the system's)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Folder for the maps of further scenes</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Folder of wheels</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>For the published backbone: files with the state dictionaries of Wide-ResNet-101-2 and ResNet34 trained on ImageNet, in torchvision's layout. Unset: random filters.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>From a folder of wheels (*.whl), without a network</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>From a scene alone to the anomaly map, and the regions above a threshold with a known false-alarm rate, with the names of the library spectra that match them best and groups of those that are alike.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>From a scene and a trained model to the anomaly map, the ranked regions above a threshold with a known false-alarm rate, and a report of the reasons for each.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Further scenes</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Further scenes of the sensor</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>GeoPackage (*.gpkg)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>GeoPackage of polygons around what scores above the threshold, as Extract anomalies makes them.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>GeoPackage of polygons in the CRS of the map, in the order of rank: 1 has the highest peak, which is the highest score of the map in the region. area is in m² on the ground; p_value is the probability that a pixel of the background scores higher than the peak; x and y are the centroid.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>GeoPackage of the regions with all of their fields and: group, from 1; match_1 to match_3, names of the best matches; angle_1 to angle_3, spectral angles in degrees; score_1 to score_3, the share of the background that matches that spectrum at least as well, so that less is better; bands, over how many the best match was made.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Give the network the most similar spectrum around the pixel as context.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Global</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Global: all valid pixels of the scene, without the targets' own. Trimmed: those less the 2 % that are farthest from their mean, so that further targets and other anomalies do not count as background. Local: the pixels between an inner and an outer window around each pixel, much slower.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Global: all valid pixels of the scene. Local: those between an inner and an outer window around each pixel, much slower.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Go to the next region.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Go to the region before.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Ground truth</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Group</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Group {group}: {count} regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Height of the scene in pixels.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Hidden width</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Histogram of the scores</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How far any two regions of a group may be apart, in degrees: the angle between their deviations from the background, in units of how the background varies. Smaller: more groups.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How many per cent of the pixels lie below the threshold, more than 0 and less than 100.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How many perturbed copies of a spectrum the score is computed for. Unset: 100, as published.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How many pixels, drawn from all over the scenes, are trained on at most. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How many regions are explained, those of the highest rank.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How often each of the two stages goes through the patches. Published: 60.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How often training goes through the pixels. Published: 100. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How well the scene fits the model, 0 to 1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Hyperspectral scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Hyperspectral scenes of ordinary background, with the same bands or known wavelengths.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>IAR</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Identified regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Identify anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>If the scene does not fit the model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Ignored: the default mode of version 0.2 took it. That of today estimates statistics, without steps. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Import MATLAB scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>In pixels. Smaller regions are left out of all results.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Install</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Install PyTorch for ScoreAD</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Install PyTorch...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Installed. It can be used at once.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Installed. Start QGIS again to use it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Instead of targets: reflectance spectra, as for Identify anomalies. The scene has to be reflectance, and tell its wavelengths.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>It will be PyTorch {number}, the newest that fits packages of this QGIS.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Judges one or several anomaly maps by ground truth: ROC curve and AUC, average precision, detection rates at false-alarm rates, and the 3-D ROC family of the field, with 95 % bootstrap intervals. All maps are judged over the same pixels. The ground truth is used for this and nothing else.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Keep the model on cancel</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Keep the regions as</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Keep this spectrum in the plot, in a colour that marks its place on the canvas.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Largest anomaly</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Later</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Learn from the area alone</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Learning rate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Learning the scene, for contributions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Learning...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Learns once, from a library of ordinary scenes, how to enhance spectra so that anomalies stand out (FERS, arXiv 2510.18781), and keeps it in a model file for Detect anomalies, which then needs no training for a new scene. The scenes should hold few anomalies.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Learns the background of the scene (Train SGM, default mode) and maps the scene's anomalies with it (Detect anomalies), in one step.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Learns the spectra of a scene, without labels, and keeps what it has learnt in a model file for Detect anomalies. The default mode estimates the statistics of the background, without a network to train; the paper mode trains the score network of a generative model (SGM). One scene alone does not need the file: Detect anomalies without a model learns the scene itself. A model of several scenes, or one that is shared, is used on further scenes of the sensor; Detect anomalies measures whether it fits them, and adapts it where it does not.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Libraries hold reflectance. Automatic: recognised from the metadata and the values; what is not reflectance is divided by the scene's mean, with a warning. Reflectance: taken as it is. IAR (internal average relative reflectance): divided by the scene's mean, which makes relative reflectance of radiance or digital numbers where the scene as a whole is grey. A flat field, where given, takes the place of this.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Local</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Local: inner window</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Local: outer window</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Local: shrinkage</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Look at nothing outside of the area, but a margin of some pixels: the background is that of the area alone. Unset: the map covers the area, and its scores are those of a map of the whole scene. (FERS looks at the whole scene always.)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>MATLAB file</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Make the detector of this map again, which takes about as long as the map did, and show how much each band contributes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Map and regions are kept in</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Map of any detector, with one band, larger is more anomalous.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Map of similar places</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Maps &lt;name of the scene&gt;_similar.tif, and regions beside them where those are asked for. Unset: a temporary folder.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Maps how poorly each pixel of a scene fits its background. Without a model the background is learnt first, from the scene itself, in seconds. With a model of Train SGM or Train FERS it is the background of the scenes that the model was trained on; whether this scene fits it is measured first. Needs no labels and no threshold. The map has the grid and CRS of the scene; larger is more anomalous.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Maps of further scenes</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Maps of one scene on one grid, larger is more anomalous. A map on another grid is refused, with the reason.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Maps where else in a scene, or in others, there is what lies in some regions, or what entries of a spectral library describe. The score is that of ACE or of the matched filter, against the background of the scene; the threshold is the score that the background exceeds at the false-alarm rate given. Several targets are one: what mixtures of them explain scores high. Choose regions of one kind.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Mask</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Mask of {scene}, {how}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Match</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Matched filter</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Memory to use, in MB (0: a quarter of what is free)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Mode</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Model file made by Train SGM or Train FERS. Unset: the scene is learnt first, in the default mode, and no file is kept. The dialog opens with the last model of the project.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Name of the array of rows × columns that marks the anomalies. Needed only where the file has several.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Name of the array of rows × columns × bands. Needed only where the file has several.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Names of those to search for, separated by semicolons; * stands for any text. Unset: the only one there is.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Next</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No band has a value here.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No region lies above the threshold</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No regions yet</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Not in order: {what}. The report says why.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Note</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Note on this region (E)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Nothing in {name} stands out at a false-alarm rate of {rate:g}. Look at the map, or extract at a higher rate.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Nothing is accepted yet: accept the regions that are to be handed on (A).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Number of accepted regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Number of bands</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Number of groups</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Number of regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Number of regions explained</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Number of regions with a clear match</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Number that random choices start from. The same seed gives the same result.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Numbers of the bands to use, such as 1-100, 115-188. Unset: all good bands that the scenes share, which the log names.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Odd width in pixels of the window whose pixels are the background.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Odd width in pixels of the window whose pixels do not count as background: larger than the anomalies.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>On the command line</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Only for scenes that are not reflectance: polygons on a bright surface without absorption features, such as concrete or sand. The scene is divided by their mean spectrum.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Opening the scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Opening {}...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Other regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Otsu</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: batch size</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: conditional</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: epochs</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: inner window</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: learning rate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: outer window</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: perturbations</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: sigma</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paper mode: time t</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Patch size</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Patches in a training step. Published: 16.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Peak</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Percentile</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Percentile (for that method)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pick</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Picture (PNG, SVG)...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pin</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pixels</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pixels above: {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pixels of the largest anomaly that is looked for: better too many than too few. What stands out in an object of no more pixels, connected by sides or corners, is raised by as much as it stands out. Larger objects keep their scores and so fall behind: one that is larger than expected may be lost among small ones. Unset: any size.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Polygons or points of the scene, such as regions of Extract anomalies: their mean spectra are searched for, and their pixels do not count as background. The dialog opens with the features that are selected: choose those of one kind.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Polygons or points to explain. Fields id and rank, as Extract anomalies writes them, name and order the regions.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Polygons or points to identify, such as those of Extract anomalies. A field rank orders them.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Polygons or raster (not 0) that say where to look in the scene, and where the background is learnt. Unset: everywhere.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Polygons or raster (not 0) that say where to look, and where the background is learnt. Unset: everywhere.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Polygons or raster (not 0) that say where to look. Unset: everywhere.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Polygons or raster (not 0) that say which pixels to train on, where clean background is known. Unset: all.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Previous</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Put the selected regions off, and go on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>RX map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>RX of the sum of the features, the product of two RX maps, or the error of a small autoencoder. Unset: as published, by the number of bands.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>RX of {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Random seed</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Rank</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Raster with many spectral bands, in which the targets lie.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Raster with many spectral bands.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Raster with many spectral bands; with a model, those that it was trained on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reading a spectrum</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reading {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reading {}...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reflectance</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reflectance spectra, as for Identify anomalies: the report then shows what each region may be.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Refuse</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions of {scene}, identified</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions of {scene}, {how}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions of {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions to explain at most</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions with a field verdict, as the dock Anomalies fills it in; those that it calls accepted are reported.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions with a field verdict, as the dock Anomalies fills it in; those that it calls accepted are written.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Regions: {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reject</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reject the region and all whose spectra are like its own.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reject the selected regions, and go on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reject these</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Remove all pinned spectra.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Report</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Report as PDF</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Report reviewed anomalies</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Report...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reports the regions that were accepted in the review: what was noted, a picture in natural colour with north and scale, the place in the CRS of the map and in longitude and latitude, and the spectrum against the background that was expected there. As one page for a browser, and as a PDF with a sheet for each region, made by a print layout that you can change.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Review</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reviewed regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Rows</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Run</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Save</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Save picture</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Save spectra</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Says what regions are: names the spectra of a library that match them best, each with the share of the background that matches as well, so that a match which says little is seen as such. And says which regions are the same thing: regions that are alike have one group, with or without a library.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Scenes</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Scenes in which the same targets are searched for: of the same sensor, or of another where both are reflectance and tell their wavelengths. Mask and area do not apply to them.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Scenes that the model learns too. The mask does not apply to them.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Scor&amp;e</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Score, Float32, on the grid and CRS of the scene. Larger is more like the targets.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Screen scenes with one model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Selected polygons</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Selected polygons only</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Share of &amp;pixels</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Share of the mean variance in the covariance, 0 to 1. Unset: chosen in each window after Ledoit and Wolf, so that windows may hold fewer pixels than bands.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Share of the pixels of the background that may lie above the threshold. 0.001 is ten pixels of a scene of 100 × 100.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Shows why a model finds some places anomalous: their mean spectrum against the background spectrum that the model expected there, the bands that contribute most to the anomaly value, and the most similar spectrum elsewhere in the scene. Takes the regions of Extract anomalies, or any polygons or points.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Similar places in {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Similar regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Similar regions in {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Simulates a hyperspectral scene in reflectance: fields, trees, water, roads and roofs, mixed in the pixels, with varying illumination, sensor noise and bands that water vapour makes unusable. Anomalies of several materials and sizes are planted in it, some smaller than a pixel. For a first try, and to compare detectors where the ground truth is known.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Size of the training steps. Published: 0.00003. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Size of the training steps. Published: 0.005.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Smallest region</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectra</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectra (ENVI library, CSV)...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectra in a training step. Published: 16. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectra of the regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectral angle</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectral bands between 400 and 2500 nm.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectral libraries</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Spectral library</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Squared Mahalanobis distance, Float32, on the grid of the scene. Larger is more anomalous.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Steps (ignored)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Stopping...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Table</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Table of regions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Table of spectra</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Take only the polygons of the layer above that are selected in QGIS. Unset: all.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Targets</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Targets as a model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Template of the PDF</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The .mat file. It holds the scene as an array of rows × columns × bands.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The Reed-Xiaoli detector: how far a spectrum lies from the mean of its background, measured by the background's covariance (squared Mahalanobis distance). It needs no model, and is the baseline for the others.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The accepted regions as GeoPackage, GeoJSON, KML or CSV.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The active layer, {}, is not a scene; this one is.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The anomalies of {name} are in {path}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The layer of the regions is no longer in the project. Add {} again, and review on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The map covers the pixels that this area touches; the background is learnt from the whole scene nevertheless. Unset: the map covers the scene.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The model that explains the regions. Unset: what they were found with, as they tell themselves, learnt again from the scene where it was learnt from that.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The model that found them: file made by Train SGM or Train FERS. The dialog opens with the last one of the project.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The packages in {folder} do not have it: uninstall them, then install again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The same by hand, in a terminal (on Windows, the OSGeo4W shell); then start QGIS again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The same numbers as CSV, one row per map; the bounds of the interval of each in the columns that end in _low and _high.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The scene as a GeoTIFF with one band for each spectral band, and wavelengths where the file has them.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The scene as a GeoTIFF, Int16 with a scale, with wavelength, width and bad-band flag of each band.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The scene in which the anomalies were found.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The scene in which the regions lie, best in reflectance. Libraries need its wavelengths; groups do not.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The scene {} of this map was not found. Choose it above.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The score above which a pixel is anomalous.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The simulated reflectance spectra of the materials in such scenes, for Identify anomalies and Explain anomalies.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The suffix tells the format: .gpkg, .geojson, .kml or .csv.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The verdicts cannot be written to {}: {}. Nothing was changed; try again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>There is no scene in this project. Add a raster with many spectral bands, which QGIS reads from a file.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>They go to &lt;i&gt;{folder}&lt;/i&gt; ({free} free).&lt;br&gt;QGIS' own packages stay as they are: {stays}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>This map does not say which scene it is of. Choose the scene above to see spectra.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>This region has no valid pixel in the scene, so that no spectrum can be compared with it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>This region has no valid pixel in the scene.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Threads of PyTorch (0: all)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Threshold</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Threshold by</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Time of the perturbation kernel, hence how much noise is added to a spectrum. Unset: 0.05, as published.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Train FERS</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Train SGM</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Train and detect</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Training loss at the end</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Training pixels</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Trimmed</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Turns a hyperspectral scene in a MATLAB file, the format of the field's benchmarks, into a GeoTIFF. Reads files of version 5 to 7.3. Finds the cube and the ground truth by itself where the file has one of each.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Turns an anomaly map into a list of places: polygons around the pixels above a threshold, ranked by their highest score. By default the threshold is the score that the background exceeds at the rate given, from a fit of the upper tail of its scores, which leaves out anomalies that stand out from it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Uninstall</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Uninstall PyTorch of ScoreAD</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Uninstalled. QGIS keeps what it has loaded until it is closed.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Unpin all</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Value</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Value (for that method)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Values of the scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Variable of the ground truth</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Variable of the scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Verdict</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Warn</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>What the canvas shows</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>What to install</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Where</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Where the anomalies are: polygons around them, or a raster with 0 for background and anything else for anomalies. Aligned to the maps by nearest neighbour. Where a raster has nodata or does not reach, nothing is evaluated.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Where to compute. auto takes a GPU where PyTorch finds one, else the processor, unless the settings of the plugin in QGIS name another; cuda is a GPU of NVIDIA, mps one of Apple.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Whether pixels that touch only at a corner belong to one region.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Whole layer</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Width in pixels, a multiple of 16, of the patches that training cuts from the scenes. Published: 64.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Width of the network's hidden layers; in the default mode the number of random features. Published: 256. Unset: what the mode takes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Width of the scene in pixels.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Within {:.1f}° of region {}: {} regions (accepted ones are left out)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Write the regions above this threshold to a file, as Extract anomalies does, and review them.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Write what has been learnt so far when the run is cancelled. Unset: a cancelled run leaves no file.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Writes the regions that were accepted in the review to a file that others read, with their notes, all their other fields, and their longitudes and latitudes. GeoPackage keeps the CRS of the regions, GeoJSON and KML are in longitude and latitude, CSV has both and no outlines.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>about {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>accepted</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>band</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>clear verdict</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>contributions</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>example: rejected with all within {:.1f}°</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>expected here</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>later</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>library: {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>like region {}: {:.2f}°, limit {:.1f}°</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>most similar: {}, {:.1f}°</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>note</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>pixel {}, {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>rate {:g}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>region {}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>region {}, mean</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>reject alike</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>rejected</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>score; heights are logarithms of counts</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>score; line: background as fitted</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>the file may be locked by another program</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>the message log says why</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>threshold {:.4g}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>threshold {:.4g}, rate {:g}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>wavelength in nm</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{count} regions in {name}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{count} selected polygons of {name}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{name} ({count} bands)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{packages} and what it needs come from the wheels in {folder}; nothing is downloaded.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{packages} and what it needs come from {place}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{packages} is missing: anomaly maps cannot be made yet.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{score:.4g} (highest)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{score:.4g} (top {share:.2g} %)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{source}: about {download} to download, {disk} on disk</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} cannot be written to: it is read-only. Make it writable, or save the layer under another name and review that.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} cannot be written. Choose a folder that you may write to.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} has few bands, as photographs have: little tells anomalies from the background there.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} is being edited, and the fields for verdicts are still to be added to it. Save or discard the edits first.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} is gone: it was moved or deleted. Bring it back, or keep the regions again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} is not in a file of its own, so that verdicts would not last. Save it as a GeoPackage, and review that.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} of {} reviewed</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{} was replaced by another file. Choose its layer again to review what is in it now.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>{}, {} later</source>
        <translation type="unfinished"></translation>
    </message>
</context>
</TS>
