"""The stand-in itself: it works like the application where it works, and refuses what the application refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer_standin
from slicer_standin import optional_modules, slicer_app
from slicer_standin.application.state import state

TOY = Path(slicer_standin.__file__).parent / "toy" / "ToyCine.py"
VOXELS = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)


@pytest.fixture
def volume(scene):
    import slicer

    return slicer.util.addVolumeFromArray(VOXELS, name="MRI")


@pytest.fixture
def toy(volume, load):
    """The toy module with a volume in the scene."""
    return load(TOY)


@pytest.fixture
def ui(toy):
    return toy.widget.ui


@pytest.fixture
def parameters(toy):
    return toy.widget._parameterNode


@pytest.fixture
def click():
    """`click(widget)`: as with the mouse."""
    import qt
    from PySide6.QtTest import QTest

    def do(widget, x=None, y=None):
        position = qt.QPoint() if x is None else qt.QPoint(x, y)
        QTest.mouseClick(widget, qt.Qt.LeftButton, qt.Qt.NoModifier, position)

    return do


class TestPythonQt:
    def test_properties_are_attributes(self, ui):
        ui.applyButton.text = "Go"
        assert ui.applyButton.text == "Go"
        with pytest.raises(TypeError):
            ui.applyButton.text()

    def test_unknown_signal(self, ui):
        with pytest.raises(AttributeError, match=r"clickt\(bool\)"):
            ui.applyButton.connect("clickt(bool)", print)
        with pytest.raises(AttributeError, match=r"currentNodeChanged\(int\)"):
            ui.inputSelector.connect("currentNodeChanged(int)", print)

    @pytest.mark.parametrize("name", ["setMinimum", "setRange", "value_", "spinBox"])
    def test_hidden_methods(self, ui, name):
        with pytest.raises(AttributeError):
            getattr(ui.framesSlider, name)

    def test_what_the_stand_in_does_not_do_says_so(self, ui):
        with pytest.raises(NotImplementedError, match=r"qMRMLVolumeThresholdWidget.*setThreshold"):
            ui.thresholdWidget.setThreshold(1, 2)

    def test_read_only_properties(self, ui, app):
        with pytest.raises(AttributeError, match="not writable"):
            ui.applyButton.width = 3
        with pytest.raises(AttributeError, match="not writable"):
            app.slicerHome = "/elsewhere"

    @pytest.mark.parametrize("name", ["applyButton", "framesSlider"])
    def test_no_new_attributes(self, ui, name):
        with pytest.raises(AttributeError, match="'foo'"):
            getattr(ui, name).foo = 1

    @pytest.mark.parametrize(("name", "attribute"), [("log", "maximumBlockCount"), ("framesSlider", "minimum")])
    def test_wrong_type(self, ui, name, attribute):
        with pytest.raises(AttributeError, match=rf"'{attribute}'.*accept"):
            setattr(getattr(ui, name), attribute, "x")

    def test_unknown_names(self, app):
        import ctk
        import slicer

        for owner, name in ((slicer, "qMRMLFooWidget"), (ctk, "ctkFoo"), (app, "mainWindow"), (app, "foo")):
            assert not hasattr(owner, name), name

    def test_derived_classes_take_attributes(self, app):
        import qt

        class Dialog(qt.QDialog):
            pass

        dialog = Dialog()
        dialog.answer = 42
        assert dialog.answer == 42

    def test_slots_get_as_many_arguments_as_they_take(self, ui):
        calls = []

        def two(first, second="default"):
            calls.append((first, second))

        ui.invertCheckBox.connect("clicked(bool)", lambda: calls.append("none"))
        ui.invertCheckBox.connect("clicked(bool)", two)
        ui.invertCheckBox.click()
        assert calls == ["none", (True, "default")]

    def test_disconnect(self, ui):
        calls = []

        def count():
            calls.append(1)

        ui.statusLabel.connect("linkActivated(QString)", count)
        ui.statusLabel.linkActivated.emit("a")
        assert ui.statusLabel.disconnect("linkActivated(QString)", count)
        ui.statusLabel.linkActivated.emit("b")
        assert calls == [1]

    def test_exception_in_a_slot_is_recorded(self, ui, noSlotErrors):
        def fail():
            raise KeyError("planted")

        ui.statusLabel.connect("linkActivated(QString)", fail)
        ui.statusLabel.linkHovered.connect(fail)
        ui.statusLabel.linkActivated.emit("a")
        ui.statusLabel.linkHovered.emit("a")
        assert [type(error) for error in noSlotErrors] == [KeyError, KeyError]
        noSlotErrors.clear()

    def test_exception_in_timer_and_observer_is_recorded(self, volume, spin, noSlotErrors):
        import qt

        def fail(*_arguments):
            raise KeyError("planted")

        qt.QTimer.singleShot(0, fail)
        spin(30)
        tag = volume.AddObserver("ModifiedEvent", fail)
        volume.Modified()
        volume.RemoveObserver(tag)
        assert len(noSlotErrors) == 2
        noSlotErrors.clear()

    def test_enums_are_numbers(self, ui):
        import qt

        assert ui.log.lineWrapMode == qt.QPlainTextEdit.WidgetWidth
        assert int(qt.Qt.AlignLeft) == 1
        ui.log.lineWrapMode = qt.QPlainTextEdit.NoWrap
        assert ui.log.lineWrapMode == 0

    def test_byte_arrays_and_lists(self, ui, app):
        import qt

        data = qt.QByteArray(b"abc")
        assert data.data() == b"abc"
        with pytest.raises(TypeError):
            bytes(data)
        assert isinstance(ui.inputSelector.nodeTypes, tuple)
        assert isinstance(ui.inputsButton.children(), tuple)

    def test_image_without_buffer(self, app):
        import qt

        with pytest.raises(ValueError, match=r"QImage.*bytes"):
            qt.QImage(b"\0" * 12, 2, 2, 6, qt.QImage.Format_RGB888)
        image = qt.QImage(2, 3, qt.QImage.Format_RGB888)
        assert (image.width(), image.height()) == (2, 3)
        assert not qt.QPixmap.fromImage(image).isNull()

    def test_widgets_that_are_collected_leave_others_of_their_class_alone(self, app):
        """PySide6's description of a class is void once the widget that was asked first is gone."""
        import qt
        from slicer_standin.pythonqt import meta_objects

        def asked_while_collecting(meta) -> str:
            assert len([[] for _ in range(100_000)]) == 100_000  # more than any threshold of the collector
            return meta.className()

        panel, stays = qt.QWidget(), qt.QSpinBox()
        assert qt.QSpinBox(panel).className() == "QSpinBox"
        cycle = [panel]
        cycle.append(cycle)
        del panel, cycle
        assert meta_objects.asked(stays, asked_while_collecting) == "QSpinBox"


class TestQtClassesOfAModule:
    def test_process(self, app, waitUntil):
        import qt

        process, lines, ended = qt.QProcess(), [], []

        def read():
            lines.append(process.readAllStandardOutput().data().decode().strip())

        process.connect("readyReadStandardOutput()", read)
        process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append(code))
        assert process.state() == qt.QProcess.NotRunning
        process.start(sys.executable, ["-c", "import sys; print(input()); sys.exit(3)"])
        assert process.waitForStarted()
        with pytest.raises(ValueError, match="takes bytes"):
            process.write("text\n")
        assert process.write(b"hello\n") == 6
        waitUntil(lambda: ended)
        assert lines == ["hello"]
        assert ended == [3] and process.exitCode() == 3

    def test_settings(self, app):
        import qt
        import slicer

        qt.QSettings().setValue("CardioDiT/folder", "/data")
        qt.QSettings().setValue("CardioDiT/list", ["a", "b"])
        assert app.userSettings().value("CardioDiT/folder") == "/data"
        assert slicer.util.settingsValue("CardioDiT/absent", 7) == 7
        assert qt.QSettings().value("CardioDiT/list") == ("a", "b")
        assert Path(qt.QSettings().fileName()).is_relative_to(app.temporaryPath)

    def test_table_and_label(self, app):
        import qt

        table = qt.QTableWidget()
        table.setRowCount(2)
        table.columnCount = 1
        table.setItem(1, 0, qt.QTableWidgetItem("cell"))
        assert (table.rowCount, table.columnCount, table.item(1, 0).text()) == (2, 1, "cell")
        label = qt.QLabel()
        label.setPixmap(qt.QPixmap(4, 5))
        assert label.pixmap.height() == 5

    def test_dialogs_return_paths(self, app, dialogs):
        import qt

        dialogs.answers.extend(["/a/model.pt", ["/a", "/b"]])
        assert qt.QFileDialog.getOpenFileName(None, "Open") == "/a/model.pt"
        assert qt.QFileDialog.getOpenFileNames(None, "Open") == ("/a", "/b")
        with pytest.raises(RuntimeError, match="would wait"):
            qt.QMessageBox().exec_()

    def test_menu(self, app, dialogs):
        import qt

        menu, chosen = qt.QMenu(), []
        menu.addAction("Copy").connect("triggered()", lambda: chosen.append("copy"))
        dialogs.answers.append("Copy")
        assert menu.exec_(qt.QPoint()).text == "Copy"
        assert chosen == ["copy"]

    def test_menu_of_what_is_no_widget(self, toy, app):
        import qt

        assert qt.QMenu(toy.widget).actions() is not None

    def test_tool_tips_are_paragraphs(self, ui, app):
        import qt

        button = qt.QPushButton()
        button.toolTip = "one & two"
        assert button.toolTip == "<p>one &amp; two</p>"
        button.setToolTip("<b>rich</b>")
        assert button.toolTip == "<b>rich</b>"

    def test_a_message_box_has_a_screen_to_fit_on(self, app):
        import slicer

        with pytest.raises(RuntimeError, match="lines"):
            slicer.util.infoDisplay("line\n" * 100)

    def test_clipboard_and_browser(self, app):
        import qt
        from slicer_standin.pythonqt import corrections

        app.clipboard().setText("copied")
        assert qt.QApplication.clipboard().text() == "copied"
        assert qt.QDesktopServices.openUrl(qt.QUrl("https://example.org"))
        assert corrections.opened_urls == ["https://example.org"]


class TestUiFiles:
    def write(self, tmp_path, text):
        path = tmp_path / "Form.ui"
        path.write_text(f'<ui version="4.0"><class>Form</class>{text}</ui>', encoding="utf-8")
        return str(path)

    def test_unknown_class(self, app, tmp_path):
        import slicer

        path = self.write(tmp_path, '<widget class="qMRMLFooWidget" name="Form"/>')
        with pytest.raises(RuntimeError, match="qMRMLFooWidget"):
            slicer.util.loadUI(path)

    def test_unknown_property(self, app, tmp_path):
        import slicer

        text = '<property name="speed"><number>1</number></property>'
        path = self.write(tmp_path, f'<widget class="ctkSliderWidget" name="Form">{text}</widget>')
        with pytest.raises(RuntimeError, match=r"ctkSliderWidget.*'speed'"):
            slicer.util.loadUI(path)

    def test_unknown_signal(self, app, tmp_path):
        import slicer

        connection = "<sender>Form</sender><signal>sceneChanged()</signal><receiver>Form</receiver><slot>show()</slot>"
        text = (
            f'<widget class="qMRMLWidget" name="Form"/><connections><connection>{connection}</connection></connections>'
        )
        with pytest.raises(AttributeError, match="sceneChanged"):
            slicer.util.loadUI(self.write(tmp_path, text))


class TestParameterNode:
    def test_widgets_follow_the_node_and_the_node_follows_the_widgets(self, ui, parameters):
        ui.framesSlider.value = 12
        assert parameters.frames == 12.0
        parameters.frames = 9.0
        assert ui.framesSlider.value == 9.0
        assert (ui.framesSlider.minimum, ui.framesSlider.maximum) == (1, 40)
        ui.repeatsSpinBox.value = 5
        assert parameters.repeats == 5
        ui.labelEdit.text = "new"
        assert parameters.label == "new"
        ui.weightsEdit.currentPath = "w.pt"
        assert parameters.weights == Path("w.pt")
        ui.windowRange.setValues(20, 60)
        assert (parameters.window.minimum, parameters.window.maximum) == (20, 60)
        parameters.window.maximum = 70.0
        assert ui.windowRange.maximumValue == 70

    def test_check_box(self, ui, parameters, click):
        click(ui.invertCheckBox, 8, 8)
        assert parameters.invert is True

    def test_combo_boxes(self, ui, parameters):
        import ToyCine

        assert [ui.speedCombo.itemText(index) for index in range(2)] == ["Slow", "Fast"]
        assert ui.speedCombo.currentText == "Fast"
        ui.speedCombo.currentIndex = 0
        assert parameters.speed is ToyCine.Speed.SLOW
        assert parameters.parameterNode.GetParameter("speed") == "SLOW"
        parameters.mode = "noisy"
        assert ui.modeCombo.currentText == "noisy"

    def test_wrong_values_are_refused(self, parameters):
        with pytest.raises(ValueError, match="within range"):
            parameters.frames = 41.0
        with pytest.raises(TypeError):
            parameters.repeats = 2.5
        with pytest.raises(TypeError):
            parameters.weights = "w.pt"
        with pytest.raises(ValueError, match=r"other.*plain.*noisy"):
            parameters.mode = "other"
        with pytest.raises(TypeError):
            parameters.speed = "SLOW"
        assert (parameters.frames, parameters.repeats, parameters.mode) == (8.0, 2, "plain")

    def test_nodes(self, ui, parameters, volume):
        assert ui.inputSelector.currentNode() is volume
        parameters.inputVolume = None
        assert ui.applyButton.enabled is False
        parameters.inputVolume = volume
        assert ui.applyButton.enabled is True
        with pytest.raises(TypeError):
            parameters.browser = volume

    def test_disconnect(self, toy, ui, parameters):
        tag = toy.widget._guiTag
        parameters.disconnectGui(tag)
        ui.framesSlider.value = 30
        assert parameters.frames == 8.0
        toy.widget._guiTag = parameters.connectGui(ui)
        assert ui.framesSlider.value == 8.0

    def test_type_without_limits_for_a_slider(self, ui, app):
        from slicer.parameterNodeWrapper import createGuiConnector

        limits = (ui.framesSlider.minimum, ui.framesSlider.maximum)
        createGuiConnector(ui.framesSlider, float)
        assert (ui.framesSlider.minimum, ui.framesSlider.maximum) == limits, "those of the .ui stay"
        with pytest.raises(RuntimeError, match="Choice"):
            createGuiConnector(ui.modeCombo, str)
        with pytest.raises(RuntimeError, match=r"float.*CheckBox"):
            createGuiConnector(ui.invertCheckBox, float)

    def test_packs_and_containers(self, scene):
        from slicer.parameterNodeWrapper import parameterNodeWrapper, parameterPack
        from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

        @parameterPack
        class Sampling:
            steps: int = 50
            name: str = "ddim"

        class Parameters:
            sampling: Sampling
            names: list[str]
            table: dict[str, int]

        # Annotations of a class inside a function cannot be found by their names.
        Parameters.__annotations__ = {"sampling": Sampling, "names": list[str], "table": dict[str, int]}
        wrapper = parameterNodeWrapper(Parameters)
        logic = ScriptedLoadableModuleLogic()
        first = wrapper(logic.getParameterNode())
        first.sampling.steps = 20
        first.names.append("a")
        first.table["x"] = 3
        second = wrapper(logic.getParameterNode())
        assert second.sampling == Sampling(20, "ddim")
        assert second.getValue("sampling.steps") == 20
        assert (second.names, second.table) == (["a"], {"x": 3})
        with pytest.raises(TypeError):
            first.names.append(1)
        with pytest.raises(AttributeError):
            first.sampling.speed = 1
        assert first.names == ["a"]

    def test_parameter_nodes_of_a_module(self, scene):
        from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

        class SomeLogic(ScriptedLoadableModuleLogic):
            pass

        logic = SomeLogic()
        assert logic.moduleName == "Some"
        assert logic.getParameterNode() is logic.getParameterNode()
        logic.isSingletonParameterNode = False
        assert logic.getAllParameterNodes() == [logic.getParameterNode()]


class TestWidgets:
    def test_collapsible_button(self, ui, toy, click, spin):
        toy.panel.show()
        spin(20)
        click(ui.inputsButton, 10, 10)
        assert ui.inputsButton.collapsed is True
        assert not ui.framesSlider.visible
        ui.inputsButton.collapsed = False
        assert ui.framesSlider.visible
        assert ui.inputsButton.checked is True

    def test_collapsible_button_keeps_what_is_hidden_on_purpose(self, app, spin):
        import ctk
        import qt

        button = ctk.ctkCollapsibleButton()
        button.collapsed = True
        layout = qt.QVBoxLayout(button)
        shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
        layout.addWidget(shown)
        layout.addWidget(hidden)
        hidden.hide()
        button.show()
        spin(10)
        assert not shown.visible
        button.collapsed = False
        assert (shown.visible, hidden.visible) == (True, False)

    def test_collapsible_group_box(self, app, spin):
        import ctk
        import qt

        box = ctk.ctkCollapsibleGroupBox()
        label = qt.QLabel("inside")
        qt.QVBoxLayout(box).addWidget(label)
        box.show()
        box.checked = False
        assert box.collapsed is True and not label.visible
        box.collapsed = False
        assert label.visible

    def test_node_combo_box(self, ui, scene, volume):
        import slicer

        changes = []
        ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", changes.append)
        other = slicer.util.addVolumeFromArray(VOXELS, name="other")
        assert ui.inputSelector.nodeCount() == 2
        ui.inputSelector.setCurrentNode(other)
        scene.RemoveNode(other)
        assert ui.inputSelector.currentNode() is volume
        assert changes == [other, volume]
        ui.inputSelector.addAttribute("vtkMRMLScalarVolumeNode", "kind", "cine")
        assert ui.inputSelector.currentNode() is None
        volume.SetAttribute("kind", "cine")
        ui.inputSelector.removeAttribute("vtkMRMLScalarVolumeNode", "kind")
        assert ui.inputSelector.nodeCount() == 1

    def test_all_classes_can_be_made(self, app):
        """The facts of every class can be turned into a stand-in."""
        from slicer_standin.widgets import factory, stand_in

        made = [stand_in(name) for name in factory.classes() if name != "ctk"]
        assert len(made) == len(factory.classes()) - 1


class TestModule:
    def test_apply_makes_a_cine(self, toy, ui, parameters, click, spin):
        click(ui.applyButton)
        spin(20)
        browser = ui.browserSelector.currentNode()
        assert browser is parameters.browser
        assert browser.GetNumberOfItems() == 8
        assert ui.statusLabel.text == "8 frames"

    def test_step_and_seek(self, ui, click):
        import slicer

        click(ui.applyButton)
        browser = ui.browserSelector.currentNode()
        button = slicer.util.findChild(ui.playWidget, "pushButton_VcrNext")
        click(button)
        assert browser.GetSelectedItemNumber() == 1
        ui.seekWidget.slider().setValue(5)
        assert browser.GetSelectedItemNumber() == 5
        proxy = browser.GetProxyNode(browser.GetMasterSequenceNode())
        assert np.array_equal(slicer.util.arrayFromVolume(proxy), VOXELS + 5)

    def test_play(self, ui, click, waitUntil):
        click(ui.applyButton)
        browser = ui.browserSelector.currentNode()
        browser.SetPlaybackRateFps(50)
        seen = set()
        ui.playWidget.onVcrPlayPause()

        def moved():
            seen.add(browser.GetSelectedItemNumber())
            return len(seen) > 3

        waitUntil(moved)
        ui.playWidget.onVcrPlayPause()
        assert not browser.GetPlaybackActive()
        assert ui.seekWidget.slider().value == browser.GetSelectedItemNumber()

    def test_worker(self, ui, click, waitUntil):
        click(ui.workerButton)
        waitUntil(lambda: ui.statusLabel.text.startswith("finished"))
        assert ui.statusLabel.text == "finished: 0"
        assert "HELLO" in ui.log.toPlainText()

    def test_scene_close(self, toy, ui, scene, spin):
        first = toy.widget._parameterNode
        scene.Clear(0)
        spin(10)
        assert toy.widget._parameterNode is not first
        assert not ui.applyButton.enabled
        ui.framesSlider.value = 5
        assert toy.widget._parameterNode.frames == 5

    def test_exit_and_enter(self, toy, ui, parameters):
        toy.panel.exit()
        assert toy.widget._parameterNode is None and toy.panel.isEntered is False
        toy.panel.enter()
        ui.framesSlider.value = 3
        assert toy.widget._parameterNode.frames == 3

    def test_reload(self, toy, ui, spin):
        import slicer

        again = slicer_app.reloadModule(toy)
        spin(20)
        assert again.widget is not toy.widget
        assert slicer.modules.ToyCineWidget is again.widget
        assert again.module is sys.modules["ToyCine"]
        again.widget.ui.framesSlider.value = 21
        assert again.widget._parameterNode.frames == 21
        assert toy.widget._parameterNode is None

    def test_reload_button(self, volume, load, click):
        import qt
        import slicer

        qt.QSettings().setValue("Developer/DeveloperMode", True)
        try:
            loaded = load(TOY)
            click(loaded.widget.reloadButton)
            assert slicer.modules.ToyCineWidget is not loaded.widget
        finally:
            qt.QSettings().remove("Developer/DeveloperMode")

    def test_unload(self, volume, app):
        import slicer

        loaded = slicer_app.loadModule(TOY)
        slicer_app.unloadModule(loaded)
        assert not hasattr(slicer.modules, "toycine")
        assert loaded.widget._parameterNode is None

    def test_self_test(self, toy):
        import slicer

        slicer.selfTests["ToyCine"](msec=1)

    def test_startup(self, toy, app):
        import slicer

        app.startupCompleted.emit()
        assert slicer.modules.ToyCineInstance.startups == ["completed"]

    def test_module_by_name(self, toy, app):
        import slicer

        assert slicer.util.modulePath("ToyCine") == str(TOY)
        assert slicer.util.getModuleWidget("ToyCine") is toy.widget
        assert slicer.util.getModuleLogic("ToyCine") is toy.widget.logic
        assert slicer.modules.toycine.title == "Toy Cine"
        assert slicer.modules.toycine.dependencies == ("Sequences",)


class TestMessages:
    def test_error_display(self, toy, messages, noSlotErrors, click, monkeypatch):
        monkeypatch.setattr(toy.widget.logic, "makeCine", lambda *_arguments: 1 / 0)
        click(toy.widget.ui.applyButton)
        assert messages.texts("error") == ["Failed.\n\ndivision by zero"]
        assert "ZeroDivisionError" in messages.shown[0].detailed_text
        assert [type(error) for error in noSlotErrors] == [ZeroDivisionError]
        noSlotErrors.clear()

    def test_questions(self, messages):
        import slicer

        assert slicer.util.confirmOkCancelDisplay("Install?") is True
        messages.answers.extend([False, True])
        assert slicer.util.confirmOkCancelDisplay("Delete?") is False
        assert slicer.util.confirmYesNoDisplay("Sure?") is True
        assert slicer.util.confirmRetryCloseDisplay("Again?") is False
        slicer.util.infoDisplay("Done")
        assert messages.texts() == ["Install?", "Delete?", "Sure?", "Again?", "Done"]

    def test_testing_mode(self, app):
        slicer_app.setTestingEnabled(True)
        assert app.testingEnabled() is True


class TestApplication:
    def test_slice_views(self, volume, app):
        import slicer

        slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)
        manager = app.layoutManager()
        for name in manager.sliceViewNames():
            assert manager.sliceWidget(name).mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()

    def test_slice_views_after_scene_close(self, scene, app):
        import slicer

        scene.Clear(0)
        again = slicer.util.addVolumeFromArray(VOXELS)
        slicer.util.setSliceViewerLayers(background=again, fit=True)
        composite = app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == again.GetID()

    def test_layout(self, app):
        import slicer

        app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
        assert app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView

    def test_sequences_tool_bar(self, scene):
        import slicer

        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
        slicer.modules.sequences.setToolBarActiveBrowserNode(browser)
        slicer.modules.sequences.setToolBarVisible(True)
        assert state.tool_bar_browser is browser
        assert slicer.modules.sequences.toolBarVisible is True
        with pytest.raises(AttributeError):
            slicer.modules.sequences.showToolBar()

    def test_extensions(self, app):
        model = app.extensionsManagerModel()
        assert not model.isExtensionInstalled("PyTorch")
        assert not model.installExtensionFromServer("PyTorch")
        assert state.requested_extensions == ["PyTorch"]
        state.installed_extensions.add("PyTorch")
        assert model.isExtensionInstalled("PyTorch")
        assert model.installedExtensions == ("PyTorch",)

    def test_render_blocker_and_temporary_folder(self, app):
        import slicer

        with slicer.util.RenderBlocker():
            folder = slicer.util.tempDirectory()
        assert Path(folder).is_relative_to(app.temporaryPath) and Path(folder).is_dir()

    def test_about_to_quit(self, app):
        calls = []

        def count():
            calls.append(1)

        assert app.connect("aboutToQuit()", count)
        assert app.disconnect("aboutToQuit()", count)
        assert calls == []

    def test_optional_modules(self, app, monkeypatch):
        records = optional_modules.put_in_place(monkeypatch)
        import PyTorchUtils
        import SampleData
        import slicer.packaging

        SampleData.SampleDataLogic.registerCustomSampleDataSource(category="CardioDiT", sampleName="Cine")
        assert records.sources[0]["sampleName"] == "Cine"
        assert not PyTorchUtils.PyTorchUtilsLogic.torchInstalled()
        PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=">=2.5")
        assert records.torch_requests[0]["torchVersionRequirement"] == ">=2.5"
        slicer.packaging.pip_ensure(["einops"], requester="CardioDiT")
        assert records.installed[0]["requirements"] == ["einops"]
        with pytest.raises(TypeError):
            slicer.packaging.pip_ensure(["einops"], quiet=True)


def make_cine(scene):
    """A sequence of four volumes with its browser."""
    import slicer

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for frame in range(4):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, VOXELS + frame)
        sequence.SetDataNodeAtValue(volume, f"{frame * 0.04:.3f}")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence


class TestFiles:
    @pytest.mark.parametrize("name", ["scene.mrb", "scene.mrml"])
    def test_scene(self, scene, tmp_path, name):
        import slicer

        sequence = make_cine(scene)
        if name.endswith(".mrml"):
            # Unlike a .mrb, a .mrml file holds no data: they have to be saved before.
            proxy = slicer.util.getNode("browser").GetProxyNode(sequence)
            assert slicer.util.saveNode(sequence, str(tmp_path / "cine.seq.nrrd"))
            assert slicer.util.saveNode(proxy, str(tmp_path / "frame.nrrd"))
        assert slicer.util.saveScene(str(tmp_path / name))
        scene.Clear(0)
        slicer.util.loadScene(str(tmp_path / name))
        sequence = slicer.util.getFirstNodeByClassByName("vtkMRMLSequenceNode", "cine")
        frames = [slicer.util.arrayFromVolume(sequence.GetNthDataNode(index)) for index in range(4)]
        assert np.array_equal(frames, [VOXELS + frame for frame in range(4)])
        assert [sequence.GetNthIndexValue(index) for index in range(4)] == ["0.000", "0.040", "0.080", "0.120"]
        browser = slicer.util.getNode("browser")
        browser.SetSelectedItemNumber(2)
        assert np.array_equal(slicer.util.arrayFromVolume(browser.GetProxyNode(sequence)), VOXELS + 2)

    def test_sequence(self, scene, tmp_path):
        import slicer

        path = str(tmp_path / "cine.seq.nrrd")
        assert slicer.util.saveNode(make_cine(scene), path)
        scene.Clear(0)
        loaded = slicer.util.loadSequence(path)
        sequence = loaded if loaded.IsA("vtkMRMLSequenceNode") else loaded.GetMasterSequenceNode()
        assert np.array_equal(slicer.util.arrayFromVolume(sequence.GetNthDataNode(3)), VOXELS + 3)

    def test_single_nodes(self, volume, scene, tmp_path):
        import slicer

        assert slicer.util.saveNode(volume, str(tmp_path / "v.nrrd"))
        loaded = slicer.util.loadVolume(str(tmp_path / "v.nrrd"))
        assert np.array_equal(slicer.util.arrayFromVolume(loaded), VOXELS)
        points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
        points.AddControlPointWorld(1, 2, 3, "RVIP")
        assert slicer.util.saveNode(points, str(tmp_path / "p.mrk.json"))
        assert slicer.util.loadMarkups(str(tmp_path / "p.mrk.json")).GetNthControlPointLabel(0) == "RVIP"
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
        slicer.util.updateTableFromArray(table, np.arange(6.0).reshape(3, 2), ["a", "b"])
        assert slicer.util.saveNode(table, str(tmp_path / "t.csv"))
        assert slicer.util.loadTable(str(tmp_path / "t.csv")).GetNumberOfRows() == 3

    def test_unreadable(self, scene, tmp_path):
        import slicer

        with pytest.raises(RuntimeError, match=r"x\.unknown"):
            slicer.util.loadNodeFromFile(str(tmp_path / "x.unknown"))
