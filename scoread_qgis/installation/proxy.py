"""The proxy that QGIS uses, for pip."""

from __future__ import annotations

from qgis.core import QgsNetworkAccessManager
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtNetwork import QNetworkProxy, QNetworkProxyQuery

from .pip_command import proxy_url


def qgis_proxy(url: str) -> str:
    """URL of the proxy that QGIS (Settings > Options > Network) takes for a `url`, with user and password; "" for none.

    Taken from QGIS' network manager, which knows its exceptions, its authentication and the system's proxy. Main thread only.
    """
    types = QNetworkProxy.ProxyType
    schemes = {types.HttpProxy: "http", types.HttpCachingProxy: "http", types.Socks5Proxy: "socks5h"}
    for proxy in QgsNetworkAccessManager.instance().proxyFactory().queryProxy(QNetworkProxyQuery(QUrl(url))):
        if proxy.type() in schemes and proxy.hostName():
            return proxy_url(schemes[proxy.type()], proxy.hostName(), proxy.port(), proxy.user(), proxy.password())
    return ""
