"""Settings of the tables in `workflows.parameters` as parameters in QGIS."""

from qgis.core import QgsProcessingParameterBoolean, QgsProcessingParameterEnum, QgsProcessingParameterNumber

_NUMBERS = {int: QgsProcessingParameterNumber.Type.Integer, float: QgsProcessingParameterNumber.Type.Double}


def add_settings(algorithm, *settings):
    """Declare each `Parameter` of settings as a parameter of the algorithm."""
    for setting in settings:
        algorithm.add(_definition(setting), setting.help, setting.advanced)


def read_settings(algorithm, settings, parameters, context):
    """The values of settings, by name; without those that are optional and not set."""
    given = [each for each in settings if not (each.optional and parameters.get(each.name.upper()) is None)]
    return {each.name: _value(algorithm, each, parameters, context) for each in given}


def _definition(setting):
    name, title, optional = setting.name.upper(), setting.title, setting.optional
    if setting.choices and setting.values:
        return QgsProcessingParameterEnum(name, title, list(setting.choices), defaultValue=setting.default_index, optional=optional)
    if setting.choices:
        return QgsProcessingParameterEnum(
            name, title, list(setting.choices), defaultValue=setting.default, optional=optional, usesStaticStrings=True
        )
    if setting.kind is bool:
        return QgsProcessingParameterBoolean(name, title, defaultValue=setting.default, optional=optional)
    limits = {key: limit for key, limit in (("minValue", setting.least), ("maxValue", setting.most)) if limit is not None}
    return QgsProcessingParameterNumber(name, title, _NUMBERS[setting.kind], defaultValue=setting.default, optional=optional, **limits)


def _value(algorithm, setting, parameters, context):
    name = setting.name.upper()
    if setting.choices and setting.values:
        return setting.value(algorithm.parameterAsEnum(parameters, name, context))
    if setting.choices:
        return algorithm.parameterAsEnumString(parameters, name, context)
    read = {int: algorithm.parameterAsInt, float: algorithm.parameterAsDouble, bool: algorithm.parameterAsBoolean}[setting.kind]
    return read(parameters, name, context)
